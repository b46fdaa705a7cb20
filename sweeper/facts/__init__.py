"""What is known before planning: the model, the data, the machine. Never imports torch."""
