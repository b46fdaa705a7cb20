"""Selects augmented rows that are made from train rows and quote no held-out row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sweeper.data.corpus import held_out, without_held_out_text
from sweeper.data.examples import Dataset, Example
from sweeper.data.splits import in_order

NOT_FROM_TRAIN = "made from rows that are not in train"
HELD_OUT = "is or quotes a row of validation or test"
UNKNOWN_LABEL = "its label is not among those of train"
REPEATED = "repeats another row"


def usable(
    rows: Iterable[Example], dataset: Dataset
) -> tuple[tuple[Example, ...], dict[Example, str]]:
    """The rows that may be trained on, in key order, and the others with their reasons."""
    train_keys = {example.key for example in dataset.splits["train"]}
    held_out_rows = held_out(dataset)
    held_out_keys = {example.key for example in held_out_rows}
    hashes = {example.content_hash() for example in dataset.splits["train"]}
    left_out: dict[Example, str] = {}
    kept: list[Example] = []
    for row in rows:
        if not set(row.made_from) <= train_keys:
            left_out[row] = NOT_FROM_TRAIN
        elif row.key in held_out_keys:
            left_out[row] = HELD_OUT
        elif dataset.labels and row.label not in dataset.labels:
            left_out[row] = UNKNOWN_LABEL
        elif row.content_hash() in hashes:
            left_out[row] = REPEATED
        else:
            hashes.add(row.content_hash())
            kept.append(row)
    answers = {example.answer for example in dataset.splits["train"]}
    new_texts = [_without_train_answer(row, answers) for row in kept]
    clean = set(without_held_out_text(tuple(new_texts), held_out_rows))
    left_out |= {
        row: HELD_OUT for row, text in zip(kept, new_texts, strict=True) if text not in clean
    }
    return in_order(row for row in kept if row not in left_out), left_out


def _without_train_answer(row: Example, answers: set[str]) -> Example:
    """The row without an answer that a train row has, since held-out rows may have it, too."""
    if not row.messages or row.answer not in answers:
        return row
    return replace(row, text=row.asked, messages=())
