"""Makes new rows from train rows with a language model, and trains on such rows."""
