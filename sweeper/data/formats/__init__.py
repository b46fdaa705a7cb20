"""The formats that rows come in: one file each, found by folder."""
