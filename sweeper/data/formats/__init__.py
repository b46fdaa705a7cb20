"""The formats of rows: one module each, discovered in this folder."""

TRAINABLE = ("messages", "instruction", "prompt-completion", "translation", "text-label", "text")
"""Names of the formats that some task can be trained on, for conditions of rules. The formats
themselves are loaded where rows are read."""
