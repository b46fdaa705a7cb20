"""Facts of a model, from its configuration alone."""
