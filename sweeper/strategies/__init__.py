"""The ways to fine-tune: one file each, found by folder. See ``base.py`` and ``discovery.py``."""
