"""More rows from the rows there are: asked for, filtered, marked, and kept out of every split."""
