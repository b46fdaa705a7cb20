"""Follows one training step of a real model class on the meta device and counts live memory.

No weights, no GPU, seconds.
"""
