"""Picture files from strangers: which kinds are read, their colours, their depth, and what a folder holds."""
