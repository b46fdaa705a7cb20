"""Scores base and finalists on tasks of lm-eval, to see what training cost: ``--suite``."""
