"""Instruction following: trained on reference answers to prompts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sweeper.data.examples import Example, Message
from sweeper.errors import DataError
from sweeper.tasks.fewshot import ZeroShot, shot_baselines
from sweeper.tasks.sequences.chat import Answers, Encoded, document, tokenise, with_bos_and_eos
from sweeper.tasks.task import Baseline, BaselineContext
from sweeper.tasks.text import TextTask


class Instruction(TextTask):
    """Cross-entropy on the assistant's tokens, in the model's own chat template."""

    name = "instruction"

    @property
    def per_byte(self) -> bool:
        """True if several base models compete: their losses per token could not be compared."""
        return len(self.spec.models) > 1

    def encode_one(self, example: Example) -> Encoded:
        text = templated_text(example)
        return (
            self.chat.encode(self.turns(example)) if text is None else self._encode_templated(text)
        )

    def prompt_messages(self, example: Example) -> list[Message]:
        """The messages before the answer."""
        return list(example.messages[:-1])

    def turns(self, example: Example) -> list[Message]:
        """The conversation of an example: question and answer."""
        return [*self.prompt_messages(example), *example.messages[-1:]]

    def prompt(self, example: Example) -> list[int]:
        """The prompt's tokens, cut on the left if it is too long; a plain text is a prompt."""
        if templated_text(example) is not None:
            encoded = self.encode_one(example)
            ids = encoded.ids[: encoded.answers[-1][0]]
        elif example.messages:
            ids = self.chat.prompt(self.prompt_messages(example))
        else:
            ids = document(self.tokenizer, example.text).ids
            ids = ids[:-1] if ids[-1:] == [self.tokenizer.eos_token_id] else ids
        cut_tokens = max(0, len(ids) - self.sequence_length)
        bos_length = int(ids[:1] == [self.tokenizer.bos_token_id])
        return ids[:bos_length] + ids[bos_length + cut_tokens :]

    def _encode_templated(self, text: str) -> Encoded:
        """The tokens of a text that already holds chat markers; they show where the answers are."""
        markers = family(text)
        spans = answers(text, markers) if markers else ()
        if not spans:
            raise DataError(
                "no answer can be found in this text with chat markers",
                fix="Give the data as messages, or as prompt and completion.",
            )
        kept_text = text[: spans[-1][1]]
        return with_bos_and_eos(tokenise(self.tokenizer, kept_text, spans), self.tokenizer)

    def baselines(self, context: BaselineContext) -> Sequence[Baseline]:
        train = self.dataset.splits["train"]
        # Tools belong to one conversation: shots before the prompt would add theirs.
        has_tools = any(message.more for example in train for message in example.messages)
        if has_tools or any(templated_text(example) is not None for example in train):
            return (ZeroShot(self, context),)
        return shot_baselines(self, context)


def templated_text(example: Example) -> str | None:
    """The whole text of an example with chat markers; None for other examples.

    A prompt with chat markers ends at the start of the assistant's turn.
    """
    if example.templated:
        return example.text
    contents = [message.content for message in example.messages]
    return "".join(contents) if len(contents) == 2 and opens_answer(contents[0]) else None


@dataclass(frozen=True)
class Markers:
    """The markers of one family of chat templates.

    Args:
        name: The usual name of the family.
        opens: Pattern of the marker right before an answer.
        closes: Pattern of the end-of-turn marker, which the model must learn; empty if the family
            has none.
        next_turn: Pattern of the next turn's beginning, for answers without end-of-turn marker.
    """

    name: str
    opens: str
    closes: str
    next_turn: str


# Tried in this order: a family whose marker is part of another's comes later.
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
    """Whether a prompt ends with the marker before an answer: a chat template wrote it."""
    return any(re.search(rf"(?:{markers.opens})\s*\Z", prompt) for markers in FAMILIES)


def answers(text: str, markers: Markers) -> Answers:
    """``(start, end)`` in characters of every answer, end-of-turn marker included."""
    spans: list[tuple[int, int]] = []
    for opening in re.finditer(markers.opens, text):
        start = opening.end()
        end_marker = re.search(markers.closes, text[start:])
        next_turn = re.search(markers.next_turn, text[start:])
        if end_marker and (next_turn is None or end_marker.start() <= next_turn.start()):
            end = end_marker.end()
        else:
            end = next_turn.start() if next_turn else len(text[start:].rstrip())
        if end > 0:
            spans.append((start, start + end))
    return tuple(spans)
