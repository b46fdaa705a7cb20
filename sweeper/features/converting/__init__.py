"""Writes a data set in another format, or as one file for each split."""
