"""Writes a data set anew: in another format, or divided into a file for each split."""
