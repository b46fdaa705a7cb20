"""Copies the study of a run to another Optuna storage when the run ends: ``--storage``."""
