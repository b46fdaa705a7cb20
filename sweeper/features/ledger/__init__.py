"""Keeps a plan's predictions and scores them after the run, for the intervals of later plans."""

# Scores come after the suite, which is part of the sweep's time.
AFTER = ("suite",)
