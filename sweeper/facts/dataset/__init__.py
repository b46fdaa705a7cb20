"""Facts about the data: rows, lengths in tokens, distance from general text."""
