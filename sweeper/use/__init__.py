"""Loads a trained model from its folder, and predicts with it."""
