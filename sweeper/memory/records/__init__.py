"""Predictions for files of measured runs, whatever their records call their fields."""
