"""Code with a hole to fill, in the special tokens that some code models were pretrained with.

Knows these tokens and where to cut a text. Knows nothing of tasks or models.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from sweeper.tasks.sequences.tokens import Encoded, completed, tokenise


@dataclass(frozen=True)
class FillIn:
    """The tokens before the text's beginning, its end, and the middle to be written."""

    prefix: str
    suffix: str
    middle: str


FORMATS = (
    FillIn("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    FillIn("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    FillIn("▁<PRE>", "▁<SUF>", "▁<MID>"),
    FillIn("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)


def fill_in_format(tokenizer: Any) -> FillIn | None:
    """The format that this tokenizer has tokens for, if any."""
    known = set(tokenizer.get_vocab())
    found = (f for f in FORMATS if {f.prefix, f.suffix, f.middle} <= known)
    return next(found, None)


def fill_in(tokenizer: Any, form: FillIn, text: str, seed: str) -> Encoded:
    """A text with its middle moved to the end, where the model must write it.

    The two cuts are drawn uniformly over the characters, in the order prefix, suffix, middle
    (arXiv:2207.14255, sections 3 and 4.4).

    Args:
        tokenizer: Has the format's tokens.
        form: Of this tokenizer.
        text: At least two characters.
        seed: The same text with the same seed is cut alike.
    """
    first, second = sorted(random.Random(seed).sample(range(len(text) + 1), 2))
    asked = f"{form.prefix}{text[:first]}{form.suffix}{text[second:]}{form.middle}"
    whole = asked + text[first:second]
    return completed(tokenise(tokenizer, whole, ((len(asked), len(whole)),)), tokenizer)
