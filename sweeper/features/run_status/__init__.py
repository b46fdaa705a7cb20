"""Shows the progress and the verdict of a run, and lists the runs in a folder."""
