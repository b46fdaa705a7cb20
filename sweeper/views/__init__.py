"""Output of commands and notebooks: plans, progress, tables, errors."""
