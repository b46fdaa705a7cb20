"""Processes that try or measure one thing, each started with ``python -m``."""
