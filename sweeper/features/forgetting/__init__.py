"""Catastrophic forgetting: what a model loses of what its base could do.

Replays general text, keeps outputs near those of the base, and measures the loss on general text
that is never trained on.
"""
