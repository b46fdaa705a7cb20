"""The remedies and the choice of rows that a request asks for, and faults that a plan warns of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sweeper.data.changes import ListedChange
from sweeper.data.examples import Dataset
from sweeper.data.faults import DataFault
from sweeper.data.rows import DataRows
from sweeper.errors import UsageError
from sweeper.features.quality import _check
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._fix import fix
from sweeper.features.quality._kinds.base import Kind, kinds, named
from sweeper.features.quality._ranking import beyond_best
from sweeper.features.quality.options import Options
from sweeper.spec import Spec


def before_split(spec: Spec, rows: DataRows) -> Iterable[ListedChange]:
    """What the remedies change that need no model."""
    return fix(rows, _wanted(spec, rows, by_model=False)).changes


def after_split(spec: Spec, rows: DataRows) -> Iterator[ListedChange]:
    """What models that check rows change in train, and what is left out as not among the best."""
    fixed = fix(rows, _wanted(spec, rows, by_model=True))
    yield from fixed.changes
    yield from beyond_best(fixed.data, spec)


def faults(spec: Spec, dataset: Dataset) -> Iterable[DataFault]:
    """The faults that are found quickly, each with its remedy."""
    return _check.quick_faults(dataset, spec.data, spec.task)


def _wanted(spec: Spec, data: DataRows, *, by_model: bool) -> list[Kind]:
    """The remedies that a spec asks for, of those that a model decides about or of the others."""
    options, rows = spec.features.of(Options), CheckedRows.of(data)
    where = spec.places.where(("features", "quality", "remedies"))
    asked = [one for one in named(options.remedies, where) if one.uses_model == by_model]
    for kind in asked:
        why = kind.missing(rows) if kind.mends else kind.consequence
        if why:
            raise UsageError(f"{kind.name} cannot be mended as rows are read", why, where=where)
    safe = options.all_safe and not by_model
    return [one for one in kinds().values() if one in asked or (safe and one.safe)]
