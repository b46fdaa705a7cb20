"""The state of a run: its files, read and written."""
