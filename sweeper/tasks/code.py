"""Code generation: from a description or from tests to code, and code with a hole to fill."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sweeper.data.examples import Example, Message
from sweeper.data.formats.turns import with_assertions
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.sequences.chat import Encoded, completed, document, tokenise


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
    vocabulary = set(tokenizer.get_vocab())
    formats = (f for f in FORMATS if {f.prefix, f.suffix, f.middle} <= vocabulary)
    return next(formats, None)


def fill_in(tokenizer: Any, form: FillIn, text: str, seed: str) -> Encoded:
    """A text with its middle moved to the end, where the model must write it.

    The two cuts are drawn uniformly over the characters, in the order prefix, suffix, middle
    (arXiv:2207.14255, sections 3 and 4.4).

    Args:
        text: At least two characters.
        seed: The same text with the same seed is cut alike.
    """
    first, second = sorted(random.Random(seed).sample(range(len(text) + 1), 2))
    asked = f"{form.prefix}{text[:first]}{form.suffix}{text[second:]}{form.middle}"
    whole = asked + text[first:second]
    return completed(tokenise(tokenizer, whole, ((len(asked), len(whole)),)), tokenizer)


class CodeTask(Instruction):
    """Instruction following on code; assertions of the tests are part of the question.

    Plain source files are learnt with a hole to fill where the tokenizer has tokens for that,
    else as they stand.
    """

    name = "code"

    @cached_property
    def fill_in(self) -> FillIn | None:
        return fill_in_format(self.tokenizer)

    def asked(self, example: Example) -> list[Message]:
        """The question with the assertions, which name the function and show its arguments.

        MBPP is asked in this way (arXiv:2108.07732, section 3.1).
        """
        return with_assertions(example)

    def encode_one(self, example: Example) -> Encoded:
        if example.messages or example.templated:
            return super().encode_one(example)
        if self.fill_in is not None and len(example.text) > 1:
            return fill_in(self.tokenizer, self.fill_in, example.text, example.key)
        return document(self.tokenizer, example.text)
