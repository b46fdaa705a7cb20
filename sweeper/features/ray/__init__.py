"""Runs workers as Ray actors, on this machine or on a cluster: ``--executor ray``."""
