"""Traits of strategies as strategy files state them. Uses no torch and no rule book."""
