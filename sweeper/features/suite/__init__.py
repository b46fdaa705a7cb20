"""Scores base models and finalists on tasks of lm-eval, to measure forgetting: ``--suite``."""
