"""The trials of a run as findings read them."""
