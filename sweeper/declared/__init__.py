"""Reads strategy files without torch and without the rule book."""
