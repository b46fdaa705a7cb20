"""Finds faults of a data set and fixes them, in a new file or while rows are read."""
