"""Work that steps do in other processes, so that they never load torch themselves."""
