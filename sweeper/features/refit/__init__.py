"""Trains the winner again, with the rows that were held out."""
