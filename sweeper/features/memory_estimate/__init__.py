"""Predicts the peak memory of a set-up; a dry run or a probe of training steps can check it."""
