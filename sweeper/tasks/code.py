"""Code generation: from a description or from tests to code, and code with a hole to fill."""

from __future__ import annotations

from functools import cached_property

from sweeper.data.examples import Example, Message
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.sequences.fill_in_middle import FillIn, fill_in, fill_in_format
from sweeper.tasks.sequences.tokens import Encoded, document


class Code(Instruction):
    """As instruction following; tests that come as assertions are part of the question.

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
        *before, last = super().asked(example)
        shown = [test for test in example.tests if test.lstrip().startswith("assert")]
        if not shown:
            return [*before, last]
        tests = "\n".join(shown)
        return [
            *before,
            Message(last.role, f"{last.content}\n\nYour code should pass these tests:\n\n{tests}"),
        ]

    def encode_one(self, example: Example) -> Encoded:
        if example.messages or example.templated:
            return super().encode_one(example)
        if self.fill_in is not None and len(example.text) > 1:
            return fill_in(self.tokenizer, self.fill_in, example.text, example.key)
        return document(self.tokenizer, example.text)
