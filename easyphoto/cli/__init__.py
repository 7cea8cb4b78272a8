"""The command line: ``python -m easyphoto``."""
