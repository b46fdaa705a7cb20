"""The peak memory of training and evaluation by formula, from a set-up and a model's shape."""
