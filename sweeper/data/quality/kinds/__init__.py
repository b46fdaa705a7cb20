"""The kinds of faults: one file each, found by folder."""
