"""New rows that a language model makes from the rows of train."""
