"""Lists the runs in a folder with their progress and verdicts."""
