"""Continued pretraining: a parameter of trials trains the base on a corpus before the task."""
