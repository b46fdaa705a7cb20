"""Facts of the machine: its GPUs, and what was measured on it."""
