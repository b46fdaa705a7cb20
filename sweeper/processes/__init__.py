"""Work that the steps leave to other processes, so that they never load torch themselves."""
