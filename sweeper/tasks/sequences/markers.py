"""Texts that already hold chat markers: which template wrote them, and where the answers are.

Knows the markers of common templates. Knows nothing of tokenizers or models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sweeper.tasks.sequences.tokens import Answers


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
    return next((known for known in FAMILIES if re.search(known.opens, text)), None)


def opens_answer(prompt: str) -> bool:
    """Whether a prompt ends at the start of the assistant's turn, so it was templated before."""
    return any(re.search(rf"(?:{known.opens})\s*\Z", prompt) for known in FAMILIES)


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
