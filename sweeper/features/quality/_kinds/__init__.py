"""The kinds of faults, related ones in one file. All files of this folder are loaded."""
