"""Code generation: from a description or tests to code, and code with a gap to fill."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sweeper.data.examples import Example, Message
from sweeper.data.formats.turns import with_assertions
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.sequences.chat import Encoded, document, tokenise, with_bos_and_eos


@dataclass(frozen=True)
class FillIn:
    """The special tokens before the prefix, the suffix and the middle, which the model writes."""

    prefix: str
    suffix: str
    middle: str


# Those of StarCoder, Qwen2.5-Coder, Code Llama and DeepSeek-Coder.
FORMATS = (
    FillIn("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    FillIn("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    FillIn("▁<PRE>", "▁<SUF>", "▁<MID>"),
    FillIn("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)


def fill_in_format(tokenizer: Any) -> FillIn | None:
    """The format whose tokens this tokenizer has; None if it has none."""
    vocabulary = set(tokenizer.get_vocab())
    formats = (f for f in FORMATS if {f.prefix, f.suffix, f.middle} <= vocabulary)
    return next(formats, None)


def fill_in(tokenizer: Any, markers: FillIn, text: str, seed: str) -> Encoded:
    """The tokens of a text with its middle moved to the end, as the answer.

    The two cuts are drawn uniformly over the characters, in the order prefix, suffix, middle
    (arXiv:2207.14255, sections 3 and 4.4).

    Args:
        text: At least two characters.
        seed: Seed of the cuts.
    """
    start, end = sorted(random.Random(seed).sample(range(len(text) + 1), 2))
    prompt = f"{markers.prefix}{text[:start]}{markers.suffix}{text[end:]}{markers.middle}"
    full_text = prompt + text[start:end]
    return with_bos_and_eos(
        tokenise(tokenizer, full_text, ((len(prompt), len(full_text)),)), tokenizer
    )


class CodeTask(Instruction):
    """Instruction following on code; the question contains the assertions of the tests.

    Plain source files are trained on with a gap to fill if the tokenizer has tokens for that.
    Otherwise they are trained on unchanged.
    """

    name = "code"

    @cached_property
    def _fill_in_format(self) -> FillIn | None:
        return fill_in_format(self.tokenizer)

    def prompt_messages(self, example: Example) -> list[Message]:
        """The question with the assertions, which name the function and show its arguments.

        This is the prompt of MBPP (arXiv:2108.07732, section 3.1).
        """
        return with_assertions(example)

    def encode_one(self, example: Example) -> Encoded:
        if example.messages or example.templated:
            return super().encode_one(example)
        if self._fill_in_format is not None and len(example.text) > 1:
            return fill_in(self.tokenizer, self._fill_in_format, example.text, example.key)
        return document(self.tokenizer, example.text)
