"""From paths to tables: which files, and a reader for each kind of file."""
