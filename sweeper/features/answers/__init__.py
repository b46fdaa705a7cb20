"""Compares the trials of a study with saved answers of models elsewhere, as baselines."""
