"""What is learned: one file a task, found by folder. See ``base.py`` and ``discovery.py``."""
