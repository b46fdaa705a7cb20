"""Reads and checks augmented rows. A parameter decides whether a trial trains on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from sweeper.data.examples import Dataset, Example
from sweeper.data.load import load_corpus
from sweeper.data.similar import held_out, without_held_out_text
from sweeper.data.splits import in_order
from sweeper.data.table import Fields
from sweeper.errors import DataError
from sweeper.features.augmentation.facts import (
    AUGMENTED_ROWS,
    MADE_FROM,
    METHOD,
    NONE,
    UNKNOWN_METHOD,
    is_augmented,
    source_of,
)
from sweeper.features.augmentation.options import Options
from sweeper.features.parts import FurtherRows, Marks
from sweeper.spec import Spec
from sweeper.units import plural


def _with_marks(example: Example, fields: Fields) -> Example:
    """The example with the keys of the rows it was made from, and its method as ``source``."""
    keys = tuple(str(fields.get(MADE_FROM) or "").split())
    source = source_of(str(fields.get(METHOD) or UNKNOWN_METHOD))
    return replace(example, source=source, made_from=keys)


MARKS = Marks(frozenset({MADE_FROM, METHOD}), _with_marks)

# For each parameter, a function of its value in a trial and of a row's source: whether the trial
# trains on the row.
SELECT = {AUGMENTED_ROWS: lambda value, source: value != NONE and is_augmented(source)}


def of_train(spec: Spec, dataset: Dataset) -> FurtherRows:
    """The augmented rows that may be trained on.

    They come from ``features.augmentation.path``, and from marked rows in the data's own files.
    Warnings count the unusable rows, which are left out.

    Raises:
        DataError: The file cannot be read or has another form, or no row can be used.
    """
    where = spec.places.where(("features", "augmentation", "path"))
    rows = tuple(row for row in dataset.further_rows if is_augmented(row.source))
    if (path := spec.features.of(Options).path) is not None:
        try:
            file_rows = load_corpus(path, spec.data, spec.task)
        except DataError as error:
            raise DataError(
                [replace(problem, where=f"{where} ({problem.where})") for problem in error.problems]
            ) from error
        unmarked_source = source_of(UNKNOWN_METHOD)
        rows += tuple(
            row if row.source else replace(row, source=unmarked_source) for row in file_rows
        )
    if not rows:
        return FurtherRows()
    kept, left_out = usable(rows, dataset)
    reasons = Counter(left_out.values())
    warnings = tuple(f"{plural(n, 'augmented row')} left out: {why}" for why, n in reasons.items())
    if not kept:
        raise DataError(
            f"none of {len(rows):,} augmented rows can be used",
            why="; ".join(warnings),
            fix="Make them from this data set with 'sweeper data augment', or leave out "
            "'features.augmentation'.",
            where=where if path else dataset.path,
        )
    return FurtherRows(kept, warnings)


# Reasons to leave an augmented row out.
NOT_FROM_TRAIN = "made from rows that are not in train"
HELD_OUT = "is or quotes a row of validation or test"
UNKNOWN_LABEL = "its label is not among those of train"
REPEATED = "repeats another row"


def usable(
    rows: Iterable[Example], dataset: Dataset
) -> tuple[tuple[Example, ...], dict[Example, str]]:
    """The rows that may be trained on, in key order, and the reason for each of the others."""
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
    """The row, without its answer if a train row has the same one.

    Such an answer is common, and no sign that the row quotes held-out text.
    """
    if not row.messages or row.answer not in answers:
        return row
    return replace(row, text=row.input, messages=())
