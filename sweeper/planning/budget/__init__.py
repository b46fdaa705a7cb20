"""Length of trials, their rungs, and the time of the whole study."""
