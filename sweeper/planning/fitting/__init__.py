"""The set-up of a strategy that a device holds, and the parameter ranges that it allows."""
