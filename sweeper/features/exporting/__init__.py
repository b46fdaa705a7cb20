"""Exports a trial as a model to serve or upload, or as a configuration for another trainer."""
