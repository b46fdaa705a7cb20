"""More rows, made from the rows of train: asked for, filtered, marked, and kept out of splits."""
