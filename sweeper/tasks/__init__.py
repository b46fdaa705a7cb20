"""The tasks that models learn: one file each, found by folder. See ``base.py``."""
