"""Predicts with a trained model, for a text or for each row of a file."""
