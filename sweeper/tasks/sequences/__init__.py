"""Token sequences: how tasks build them, and how answers in them are scored."""
