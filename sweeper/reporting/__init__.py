"""Turns findings into report.html and its sibling files. Computes nothing new."""
