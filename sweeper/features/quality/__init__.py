"""Finds faults of a data set and mends them, in a new file or as rows are read."""
