"""The kinds of faults: related ones in one file, found by folder."""
