"""Processes that measure one thing, each started with ``python -m``."""
