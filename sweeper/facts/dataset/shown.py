"""One whole example as the model reads it, with the parts that the loss is computed on."""

from __future__ import annotations

from dataclasses import replace

from sweeper.data.examples import Example, Message
from sweeper.data.formats.text_label import class_turns
from sweeper.data.tools import spelled
from sweeper.facts.dataset.lengths import Write, as_asked
from sweeper.facts.record import ShownExample
from sweeper.spec import Spec


def shown_example(
    example: Example, spec: Spec, labels: tuple[str, ...], write: Write
) -> ShownExample:
    """An example in the form in which the task trains on it.

    ``write`` writes conversations, by the model's template where that is at hand.
    """
    turns = list(example.messages)
    if example.label is not None:
        if spec.training.classes_by == "head":
            text = f"{example.text} "
            whole = f"{text}{example.label}"
            return ShownExample(line=example.line, text=whole, trained=((len(text), len(whole)),))
        turns = list(class_turns(example, labels))
    if not turns:
        trained = () if example.templated else ((0, len(example.text)),)
        return ShownExample(line=example.line, text=example.text, trained=trained)
    turns = as_asked(replace(example, messages=tuple(turns)), spec)
    (text,) = write([turns])
    return ShownExample(line=example.line, text=text, trained=_answers(text, turns))


def _answers(text: str, turns: list[Message]) -> tuple[tuple[int, int], ...]:
    """Where the assistant's turns stand in the text, as far as they are there as they are."""
    found: list[tuple[int, int]] = []
    cursor = 0
    for turn in turns:
        said = spelled(turn).strip()
        place = text.find(said, cursor)
        if place < 0:  # the template writes calls in a form of its own
            said = turn.content.strip()
            place = text.find(said, cursor)
        if place < 0 or not said:
            continue
        cursor = place + len(said)
        if turn.role == "assistant":
            found.append((place, cursor))
    return tuple(found)
