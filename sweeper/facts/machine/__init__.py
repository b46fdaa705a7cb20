"""Facts about the machine: its hardware, and measurements on it."""
