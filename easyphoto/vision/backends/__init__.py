"""The backends that can serve the vision roles: one module for each way of doing something."""
