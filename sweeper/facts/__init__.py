"""Facts for planning: the model, the data, the machine. Never imports torch."""
