"""Metrics of models besides the loss, each discovered in this folder."""
