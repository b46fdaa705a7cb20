"""One base model with its data, and all that its trials share."""
