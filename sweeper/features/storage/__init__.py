"""Copies the study to another Optuna storage: ``--storage``."""
