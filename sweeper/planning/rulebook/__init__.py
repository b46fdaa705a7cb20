"""Rules and strategies as data: read from YAML, checked, applied to facts, explained."""
