"""What the commands show: plans, progress, tables, errors."""
