"""Reads and writes the files that hold the state of a run."""
