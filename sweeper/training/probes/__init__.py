"""Measurements of models and of this machine, each called in a child process."""
