"""Facts about a model, from its configuration alone."""
