"""Runs the trials of a study: the command's loop, the worker's loop, and their launchers."""
