"""The tasks that models learn: one module each, discovered in this folder. See ``task.py``."""
