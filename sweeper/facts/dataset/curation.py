"""The data set of a spec as training sees it: with the remedies and the choice of rows that the
spec asks for. Files stay as they are; every change is listed."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.data.dataset import dataset_of
from sweeper.data.examples import Dataset, Example
from sweeper.data.load import Choose, Splits, dataset_of_rows
from sweeper.data.problems import fix_command, flags_of
from sweeper.data.quality.fix import ListedChange, applied, fix
from sweeper.data.quality.kinds.base import Kind, kinds, named
from sweeper.data.rows import DataRows, FileRow, read_rows
from sweeper.errors import DataError, Problem, UsageError
from sweeper.facts.dataset.ranking import KEEP, beyond_best
from sweeper.facts.record import DataChange
from sweeper.spec import CurationSpec, DataSpec, Spec, Task

_SECONDS_OF_TRIES = 30
"""No further remedy is tried after that long: an error should not take minutes."""


@dataclass(frozen=True)
class Curated:
    """A data set, and what was done to the rows of its files, in order."""

    dataset: Dataset
    changes: tuple[ListedChange, ...] = ()

    @property
    def counts(self) -> tuple[DataChange, ...]:
        """Rows by remedy and action."""
        found = Counter((one.remedy, one.action) for one in self.changes)
        return tuple(
            DataChange(remedy=remedy, action=action, rows=rows)
            for (remedy, action), rows in found.items()
        )


def curated(spec: Spec, record: Path | None = None) -> Curated:
    """The data set of a spec.

    Remedies are applied before the rows are split. Those that check rows by a model, and the
    choice of the best rows, look at all sources together and change train alone: without its hard
    rows, a validation or test split would flatter every model.

    Args:
        record: The list of changes of the run that this is for. If it exists, it is applied, and
            nothing is looked for again.

    Raises:
        DataError: The data cannot be read, recognised or learnt from.
        UsageError: A remedy has no such name, or cannot be applied.
    """
    if not spec.curation.asked:
        return Curated(dataset_of(spec))
    known = None if record is None or not record.is_file() else _read(record)
    changes: list[ListedChange] = []
    sources: list[DataRows] = []

    def load_source(data: DataSpec, task: Task, choose: Choose) -> Dataset:
        rows = read_rows(data, task)
        if known is None:
            early = fix(rows, _wanted(spec, rows, by_model=False)).changes
        else:
            early = tuple(one for one in known if one.path in rows.forms and not _is_late(one))
        changes.extend(early)
        sources.append(applied(rows, early))
        return dataset_of_rows(sources[-1], data, choose)

    def choose(splits: Splits) -> Splits:
        rows = _rows_in(splits, spec, sources)
        forms = {path: form for source in sources for path, form in source.forms.items()}
        whole = replace(sources[0], forms=forms).with_rows(list(rows.values()))
        late = _late(spec, whole) if known is None else [*filter(_is_late, known)]
        changes.extend(late)
        left = {(row.path, row.line): row.label for _, row, _ in applied(whole, late).usable}
        places = ((one, rows[_key(one.source, one)]) for one in splits["train"])
        train = tuple(
            replace(one, label=left[row.path, row.line] or None)
            for one, row in places
            if (row.path, row.line) in left
        )
        return {**splits, "train": train}

    return Curated(dataset_of(spec, load_source, choose), tuple(changes))


def unchanged(spec: Spec, record: Path, fingerprint: str | None, why: str) -> Curated:
    """The data set of a run, which must be what its plan was made of.

    Raises:
        DataError: It is not, which matters because of ``why``.
    """
    found = curated(spec, record)
    if found.dataset.fingerprint != fingerprint:
        raise DataError(
            "the data has changed since the sweep",
            why=why,
            fix="Put the old data back, or run a new sweep on this data.",
            where=found.dataset.path,
        )
    return found


def mendable(error: DataError, spec: Spec) -> DataError:
    """The error, with the command that fixes the data if there is one: it was tried.

    A remedy that would leave out most rows is not offered.
    """
    if spec.curation.asked or spec.data.sources:
        return error
    until = time.monotonic() + _SECONDS_OF_TRIES
    path = spec.data.path
    others = [
        one.name for one in kinds().values() if one.mends and not (one.safe or one.uses_model)
    ]
    for name in ("", *others):
        asked = CurationSpec(remedies=(name,)) if name else CurationSpec(all_safe=True)
        if time.monotonic() > until:
            break
        try:
            found = curated(spec.model_copy(update={"curation": asked}))
        except (DataError, UsageError):
            continue
        if sum(one.rows for one in found.counts if one.action == "removed") > found.dataset.rows:
            continue
        remedy = ("--remedy", name) if name else ("--all-safe",)
        command = fix_command(str(path), *remedy, *flags_of(spec.data, spec.task))
        here = f"--set 'curation.remedies=[{name}]'" if name else "--fix"
        fix = f"Write a new data set: {command}\nOr go on with {here}"
        return DataError([*error.problems, Problem("a remedy mends the data", fix=fix)])
    return error


def _wanted(spec: Spec, rows: DataRows, *, by_model: bool) -> list[Kind]:
    """The remedies that a spec asks for, of those that a model decides about or of the others."""
    where = spec.places.where(("curation", "remedies"))
    asked = [one for one in named(spec.curation.remedies, where) if one.uses_model == by_model]
    for kind in asked:
        why = kind.missing(rows) if kind.mends else kind.consequence
        if why:
            raise UsageError(f"{kind.name} cannot be mended as rows are read", why, where=where)
    safe = spec.curation.all_safe and not by_model
    return [one for one in kinds().values() if one in asked or (safe and one.safe)]


def _late(spec: Spec, divided: DataRows) -> list[ListedChange]:
    """What models that check rows change in train, and what is left out as not among the best."""
    fixed = fix(divided, _wanted(spec, divided, by_model=True))
    if spec.curation.keep is None:
        return [*fixed.changes]
    best = beyond_best(fixed.data, spec, spec.curation.keep)
    return [
        *fixed.changes,
        *(
            ListedChange(row.path, row.line, KEEP, "removed", why, row.fields, {})
            for row, why in best
        ),
    ]


def _is_late(change: ListedChange) -> bool:
    kind = kinds().get(change.remedy)
    return change.remedy == KEEP or (kind is not None and kind.uses_model)


def _rows_in(
    splits: Splits, spec: Spec, sources: Sequence[DataRows]
) -> dict[tuple[str, int, str], FileRow]:
    """The rows that are in a split, each with the split that it is in."""
    where = {_key(one.source, one): split for split, rows in splits.items() for one in rows}
    titles = [source.title for source in spec.data.sources] or [""]
    return {
        key: replace(row, split=where[key])
        for title, source in zip(titles, sources, strict=True)
        for _, row, example in source.usable
        if (key := _key(title, example)) in where
    }


def _key(source: str, example: Example) -> tuple[str, int, str]:
    return source, example.line, example.content_hash()


def _read(record: Path) -> tuple[ListedChange, ...]:
    try:
        # Texts may hold other ends of lines, such as U+2028, at which splitlines cuts.
        lines = record.read_text(encoding="utf-8").split("\n")
        return tuple(ListedChange(**json.loads(line)) for line in lines if line)
    except (ValueError, TypeError) as error:
        raise DataError(
            "the run's list of changes to its data is damaged",
            fix="Put the file back from a backup, or start over with --new.",
            where=str(record),
        ) from error
