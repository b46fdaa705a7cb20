"""Compares the winners of several runs on one page."""
