"""Saved answers of a model elsewhere, as a baseline that a study compares its trials with."""
