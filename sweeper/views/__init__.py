"""What commands and notebooks show: plans, progress, tables, errors."""
