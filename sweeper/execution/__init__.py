"""Runs the trials of a study: the command's loop, the workers, and the pools that start them."""
