"""Predicts the peak memory of one training set-up, and follows or trains some of its steps."""
