"""Instruction following: learn to answer as the references do, given their prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.data.examples import Example, Message
from sweeper.errors import DataError
from sweeper.tasks.fewshot import ZeroShot, shot_baselines
from sweeper.tasks.sequences.chat import Answers, Encoded, completed, tokenise
from sweeper.tasks.task import Baseline, BaselineContext
from sweeper.tasks.text import TextTask


class Instruction(TextTask):
    """Cross-entropy on the assistant's tokens, in the model's own chat template."""

    name = "instruction"

    @property
    def per_byte(self) -> bool:
        """Whether losses are per byte: true if several base models compete."""
        return len(self.spec.models) > 1

    def encode_one(self, example: Example) -> Encoded:
        text = templated_text(example)
        return self.chat.encode(self.turns(example)) if text is None else self._templated(text)

    def asked(self, example: Example) -> list[Message]:
        """The turns before the answer."""
        return list(example.messages[:-1])

    def turns(self, example: Example) -> list[Message]:
        """Question and answer."""
        return [*self.asked(example), *example.messages[-1:]]

    def prompt(self, example: Example) -> list[int]:
        """The prompt as tokens, cut on the left if it is too long."""
        if templated_text(example) is not None:
            whole = self.encode_one(example)
            ids = whole.ids[: whole.answers[-1][0]]
        else:
            ids = self.chat.prompt(self.asked(example))
        over = max(0, len(ids) - self.sequence_length)
        keep = int(ids[:1] == [self.tokenizer.bos_token_id])
        return ids[:keep] + ids[keep + over :]

    def _templated(self, text: str) -> Encoded:
        """A text that already holds chat markers, masked by them and not templated again."""
        markers = family(text)
        places = answers(text, markers) if markers else ()
        if not places:
            raise DataError(
                "no answer can be found in this text with chat markers",
                fix="Give the data as messages, or as prompt and completion.",
            )
        kept = text[: places[-1][1]]
        return completed(tokenise(self.tokenizer, kept, places), self.tokenizer)

    def baselines(self, context: BaselineContext) -> Sequence[Baseline]:
        train = self.dataset.splits["train"]
        # Tools are those of one conversation: solved examples in front would mix them.
        tools = any(message.more for example in train for message in example.messages)
        if tools or any(templated_text(example) is not None for example in train):
            return (ZeroShot(self, context),)
        return shot_baselines(self, context)


def templated_text(example: Example) -> str | None:
    """The whole text of an example that already holds chat markers; None for any other.

    A prompt may hold them, too: it then ends where the assistant begins to speak.
    """
    if example.templated:
        return example.text
    contents = [message.content for message in example.messages]
    return "".join(contents) if len(contents) == 2 and opens_answer(contents[0]) else None


@dataclass(frozen=True)
class Markers:
    """How one family of templates marks turns.

    Args:
        name: What people call it.
        opens: Pattern of what stands right before an answer.
        closes: Pattern of the end-of-turn marker, which the model must learn to say; empty if the
            family has none.
        next_turn: Pattern of what begins the next turn, where no end-of-turn marker does.
    """

    name: str
    opens: str
    closes: str
    next_turn: str


# In the order of trying: a family whose marker is part of another's comes later.
FAMILIES = (
    Markers("ChatML", r"<\|im_start\|>assistant\n", r"<\|im_end\|>", r"<\|im_start\|>"),
    Markers(
        "Llama 3",
        r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n",
        r"<\|eot_id\|>|<\|end_of_text\|>",
        r"<\|start_header_id\|>",
    ),
    Markers("Gemma", r"<start_of_turn>model\n", r"<end_of_turn>", r"<start_of_turn>"),
    Markers("[INST]", r"\[/INST\]", r"</s>|<\|endoftext\|>", r"\s*(?:<s>)?\s*\[INST\]"),
    Markers(
        "Zephyr",
        r"<\|assistant\|>\n?",
        r"</s>|<\|end\|>|<\|endoftext\|>",
        r"\s*<\|(?:user|system)\|>",
    ),
    Markers(
        "Alpaca",
        r"### (?:Response|Assistant):[ \n]?",
        r"</s>|<\|endoftext\|>",
        r"\s*### (?:Instruction|Human|User|Input):",
    ),
)


def family(text: str) -> Markers | None:
    """The family of templates that wrote this text, or None."""
    return next((markers for markers in FAMILIES if re.search(markers.opens, text)), None)


def opens_answer(prompt: str) -> bool:
    """Whether a prompt ends at the start of the assistant's turn, so it was templated before."""
    return any(re.search(rf"(?:{markers.opens})\s*\Z", prompt) for markers in FAMILIES)


def answers(text: str, markers: Markers) -> Answers:
    """``(start, end)`` in characters of every answer, end-of-turn marker included."""
    places: list[tuple[int, int]] = []
    for opening in re.finditer(markers.opens, text):
        start = opening.end()
        closing = re.search(markers.closes, text[start:])
        following = re.search(markers.next_turn, text[start:])
        if closing and (following is None or closing.start() <= following.start()):
            end = closing.end()
        else:
            end = following.start() if following else len(text[start:].rstrip())
        if end > 0:
            places.append((start, start + end))
    return tuple(places)
