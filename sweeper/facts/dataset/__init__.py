"""Facts of the data: rows, lengths in tokens, distance from what the model knows."""
