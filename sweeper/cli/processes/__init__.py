"""Work that the command line leaves to other processes, so that it never loads torch itself."""
