"""Facts for planning, about model, data and machine. Never imports torch."""
