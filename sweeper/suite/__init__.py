"""Scoring of general capability: a suite's definition, its items, and models' scores on them."""
