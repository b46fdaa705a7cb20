"""Catastrophic forgetting: how much worse a model is than its base.

Replays general text, keeps outputs near those of the base, and measures the loss on general text
that is never trained on.
"""
