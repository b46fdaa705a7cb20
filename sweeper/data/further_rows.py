"""Rows that features add to train after the split; the parameters of a trial choose among them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache

from sweeper.data.examples import Dataset, Example
from sweeper.data.table import Fields
from sweeper.features import parts
from sweeper.spec import Scalar, Spec


@cache
def provenance_columns() -> frozenset[str]:
    """Columns that mark rows of the user's files as made from other rows."""
    return frozenset(column for _, marks in parts.MARKS.all() for column in marks.columns)


def with_marks(example: Example, fields: Fields) -> Example:
    """The example of a row, with ``source`` and ``made_from`` if the row is marked."""
    if not any(fields.get(column) for column in provenance_columns()):
        return example
    for _, marks in parts.MARKS.all():
        if any(fields.get(column) for column in marks.columns):
            example = marks.read(example, fields)
    return example


def with_further_rows(dataset: Dataset, spec: Spec) -> Dataset:
    """The data set with the rows that features add, which count in its fingerprint.

    Raises:
        DataError: A feature cannot use what the request names.
    """
    additions = [of_train(spec, dataset) for _, of_train in parts.OF_TRAIN.all()]
    rows = tuple(row for addition in additions for row in addition.rows)
    if not rows:
        return dataset
    content = " ".join((dataset.fingerprint, *(row.content_hash() for row in rows)))
    new_warnings = (text for addition in additions for text in addition.warnings)
    return replace(
        dataset,
        further_rows=rows,
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
        warnings=(*dataset.warnings, *new_warnings),
    )


def choosing_parameters() -> frozenset[str]:
    """The parameters that choose among further rows."""
    return frozenset(name for _, selectors in parts.SELECT.all() for name in selectors)


def rows_for_trial(
    rows: Iterable[Example], parameters: Mapping[str, Scalar]
) -> tuple[Example, ...]:
    """The further rows that a trial with these parameters trains on."""
    choices = [
        (parameters[name], selects)
        for _, selectors in parts.SELECT.all()
        for name, selects in selectors.items()
        if name in parameters
    ]
    return tuple(
        row for row in rows if any(selects(value, row.source) for value, selects in choices)
    )
