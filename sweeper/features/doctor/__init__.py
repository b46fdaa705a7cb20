"""What works on this machine: a check of it, and trainings on its GPU."""
