"""Augmented rows beside a data set: those made from its train rows that quote no others."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from sweeper.data.corpus import held_out, unquoted
from sweeper.data.examples import Dataset, Example
from sweeper.data.load import load_corpus
from sweeper.data.marks import UNKNOWN_METHOD
from sweeper.data.splits import in_order
from sweeper.errors import DataError
from sweeper.spec import Spec
from sweeper.units import plural

NOT_FROM_TRAIN = "made from rows that are not in train"
HELD_OUT = "is or quotes a row of validation or test"
UNKNOWN_LABEL = "its label is not among those of train"
REPEATED = "repeats another row"


def with_augmented(dataset: Dataset, spec: Spec) -> Dataset:
    """The data set with the augmented rows that may be trained on.

    These are the rows of ``augmentation.path`` and those that its own files mark. The rest is left
    out, and counted in a warning.

    Raises:
        DataError: The file cannot be read, has another form, or none of its rows may be used.
    """
    where = spec.places.where(("augmentation", "path"))
    rows = dataset.augmented
    if (path := spec.augmentation.path) is not None:
        try:
            found = load_corpus(path, spec.data, spec.task)
        except DataError as error:
            raise DataError(
                [replace(one, where=f"{where} ({one.where})") for one in error.problems]
            ) from error
        rows += tuple(row if row.method else replace(row, method=UNKNOWN_METHOD) for row in found)
    if not rows:
        return dataset
    kept, left_out = usable(rows, dataset)
    reasons = Counter(left_out.values())
    said = tuple(f"{plural(n, 'augmented row')} left out: {why}" for why, n in reasons.items())
    if not kept:
        raise DataError(
            f"none of {len(rows):,} augmented rows can be used",
            why="; ".join(said),
            fix="Make them from this data set with 'sweeper data augment', or leave out "
            "'augmentation'.",
            where=where if path else dataset.path,
        )
    content = " ".join((dataset.fingerprint, *(row.content_hash() for row in kept)))
    return replace(
        dataset,
        augmented=kept,
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
        warnings=(*dataset.warnings, *said),
    )


def usable(
    rows: Iterable[Example], dataset: Dataset
) -> tuple[tuple[Example, ...], dict[Example, str]]:
    """The rows that may be trained on, in key order, and why the others may not."""
    train = {example.key for example in dataset.splits["train"]}
    held = held_out(dataset)
    held_keys = {example.key for example in held}
    known = {example.content_hash() for example in dataset.splits["train"]}
    left_out: dict[Example, str] = {}
    kept: list[Example] = []
    for row in rows:
        if not set(row.made_from) <= train:
            left_out[row] = NOT_FROM_TRAIN
        elif row.key in held_keys:
            left_out[row] = HELD_OUT
        elif dataset.labels and row.label not in dataset.labels:
            left_out[row] = UNKNOWN_LABEL
        elif row.content_hash() in known:
            left_out[row] = REPEATED
        else:
            known.add(row.content_hash())
            kept.append(row)
    answers = {example.answer for example in dataset.splits["train"]}
    new = [_what_is_new(row, answers) for row in kept]
    clean = set(unquoted(tuple(new), held))
    left_out |= {row: HELD_OUT for row, text in zip(kept, new, strict=True) if text not in clean}
    return in_order(row for row in kept if row not in left_out), left_out


def _what_is_new(row: Example, answers: set[str]) -> Example:
    """The row without an answer that a train row has, which may be like other rows' answers."""
    if not row.messages or row.answer not in answers:
        return row
    return replace(row, text="\n".join(m.content for m in row.messages[:-1]), messages=())
