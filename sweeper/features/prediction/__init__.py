"""Lets a trained model predict for a text, or for each row of a file."""
