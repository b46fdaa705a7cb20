"""Trains the winner again on more rows."""
