"""The remedies and the choice of rows that a spec asks for, and the faults that a plan warns of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sweeper.data.changes import ListedChange
from sweeper.data.examples import Dataset
from sweeper.data.faults import DataFault
from sweeper.data.rows import DataRows
from sweeper.features.quality import _check
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.features.quality._fix import fix
from sweeper.features.quality._kinds.base import FaultKind, kinds_by_name, remedies
from sweeper.features.quality._ranking import rows_to_leave_out
from sweeper.features.quality.options import Options
from sweeper.spec import Spec


def before_split(spec: Spec, rows: DataRows) -> Iterable[ListedChange]:
    """The changes of the remedies that need no model."""
    return fix(rows, _remedies_of(spec, rows, by_model=False)).changes


def after_split(spec: Spec, rows: DataRows) -> Iterator[ListedChange]:
    """The changes of remedies that use a model, and the train rows that are not the best."""
    fixed = fix(rows, _remedies_of(spec, rows, by_model=True))
    yield from fixed.changes
    yield from rows_to_leave_out(fixed.data, spec)


def faults(spec: Spec, dataset: Dataset) -> Iterable[DataFault]:
    """The faults that are found quickly, each with its remedy."""
    return _check.quick_faults(dataset, spec.data, spec.task)


def _remedies_of(spec: Spec, data: DataRows, *, by_model: bool) -> list[FaultKind]:
    """The remedies that a spec asks for: those that use a model, or the others."""
    options = spec.features.of(Options)
    where = spec.places.where(("features", "quality", "remedies"))
    asked = [kind for kind in kinds_by_name(options.remedies, where) if kind.uses_model == by_model]
    return remedies(asked, options.all_safe and not by_model, CheckedRows.of(data), where)
