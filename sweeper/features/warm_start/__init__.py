"""Starts a search with what earlier sweeps on similar data found best: ``--warm-start``."""
