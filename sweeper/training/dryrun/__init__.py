"""Follows one training step of a real model class on the meta device and counts live memory.

No weights, no GPU, seconds. ``python -m sweeper.training.dryrun --json`` reads a request from
standard input and prints the answer as one line of JSON.
"""
