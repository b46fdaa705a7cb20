"""A trained model at work: loaded from its folder, and asked."""
