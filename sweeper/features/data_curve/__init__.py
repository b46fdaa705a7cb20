"""Trains on parts of the rows, to estimate the gain of more rows: ``--data-curve``."""
