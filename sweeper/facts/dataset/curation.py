"""The data set of a spec as training sees it: with the remedies and the choice of rows that the
spec asks for. Files stay as they are; every change is listed."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sweeper.data.dataset import dataset_of
from sweeper.data.examples import Dataset, Example, Split
from sweeper.data.load import load, with_path
from sweeper.data.problems import fix_command, flags_of
from sweeper.data.quality.fix import ListedChange, applied, fix
from sweeper.data.quality.kinds.base import Kind, kinds, named
from sweeper.data.quality.rows import DataRows, FileRow, read_rows
from sweeper.data.reading.read import read
from sweeper.data.table import Fields
from sweeper.errors import DataError, Problem, UsageError
from sweeper.facts.dataset.ranking import KEEP, beyond_best
from sweeper.facts.record import DataChange
from sweeper.spec import CurationSpec, DataSpec, Spec, Task

Splits = Mapping[Split, tuple[Example, ...]]


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
    choice of the best rows, come after it and leave out rows of train alone: without its hard
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

    def load_source(data: DataSpec, task: Task) -> Dataset:
        made, rows = _curated_source(data, spec, known)
        changes.extend(made.changes)
        sources.append(rows)
        return made.dataset

    def best_of_all(splits: dict[Split, tuple[Example, ...]]) -> dict[Split, tuple[Example, ...]]:
        if spec.curation.keep is None:
            return splits
        titles = [source.title for source in spec.data.sources]
        mixed = {(one.source, *_key(one, one)) for one in splits["train"]}
        rows = {
            (title, *_key(row, example)): row
            for title, source in zip(titles, sources, strict=True)
            for _, row, example in source.usable
            if row.split != "train" or (title, *_key(row, example)) in mixed
        }
        forms = {path: form for source in sources for path, form in source.forms.items()}
        whole = replace(sources[0], forms=forms).with_rows(list(rows.values()))
        late = _kept(spec, whole) if known is None else [c for c in known if c.remedy == KEEP]
        changes.extend(late)
        left = {(row.path, row.line) for row in applied(whole, late).rows}
        kept = {key for key, row in rows.items() if (row.path, row.line) in left}
        train = tuple(one for one in splits["train"] if (one.source, *_key(one, one)) in kept)
        return {**splits, "train": train}

    return Curated(dataset_of(spec, load_source, best_of_all), tuple(changes))


def _curated_source(
    data: DataSpec, spec: Spec, known: Sequence[ListedChange] | None
) -> tuple[Curated, DataRows]:
    """One source with its changes, those of the run that is resumed or new ones, and its rows.

    Of several sources the best rows are chosen later, from all of them.
    """
    once = cache(read)
    data = with_path(data, spec.task)
    before = read_rows(data, spec.task, once)
    wanted = _wanted(spec, before) if known is None else []
    if known is None:
        early = fix(before, [kind for kind in wanted if not kind.uses_model]).changes
    else:
        known = [change for change in known if change.path in before.forms]
        if spec.data.sources:
            known = [change for change in known if change.remedy != KEEP]
        early = tuple(change for change in known if not _is_late(change))
    mended = applied(before, early)
    rows: dict[str, list[tuple[int, Fields]]] = defaultdict(list)
    for row in mended.rows:
        rows[row.path].append((row.line, row.fields))
    late: list[ListedChange] = []
    divided = mended

    def choose(splits: Splits) -> dict[Split, tuple[Example, ...]]:
        nonlocal divided
        before = _divided(mended, splits)
        late.extend(_late(spec, before, wanted) if known is None else filter(_is_late, known))
        divided = applied(before, late)
        after = {(row.path, row.line): example for _, row, example in divided.usable}
        left = {
            _key(row, example): after[row.path, row.line]
            for _, row, example in before.usable
            if (row.path, row.line) in after
        }
        train = tuple(
            replace(one, label=left[_key(one, one)].label)
            for one in splits["train"]
            if _key(one, one) in left
        )
        return {**splits, "train": train}

    dataset = load(
        data,
        spec.task,
        lambda path: replace(once(path), rows=tuple(rows[str(path)]), broken=()),
        choose,
    )
    return Curated(dataset, (*early, *late)), divided


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
    path = with_path(spec.data, spec.task).path
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


def _wanted(spec: Spec, rows: DataRows) -> list[Kind]:
    where = spec.places.where(("curation", "remedies"))
    asked = named(spec.curation.remedies, where)
    for kind in asked:
        why = kind.missing(rows) if kind.mends else kind.consequence
        if why:
            raise UsageError(f"{kind.name} cannot be mended as rows are read", why, where=where)
    safe = spec.curation.all_safe
    return [one for one in kinds().values() if one in asked or (safe and one.safe)]


def _late(spec: Spec, divided: DataRows, wanted: Sequence[Kind]) -> list[ListedChange]:
    """What is left out of train by models that check rows."""
    fixed = fix(divided, [kind for kind in wanted if kind.uses_model])
    return [*fixed.changes, *([] if spec.data.sources else _kept(spec, fixed.data))]


def _kept(spec: Spec, data: DataRows) -> list[ListedChange]:
    """What is left out of train as not among the best."""
    if spec.curation.keep is None:
        return []
    return [
        ListedChange(row.path, row.line, KEEP, "removed", why, row.fields, {})
        for row, why in beyond_best(data, spec, spec.curation.keep)
    ]


def _is_late(change: ListedChange) -> bool:
    kind = kinds().get(change.remedy)
    return change.remedy == KEEP or (kind is not None and kind.uses_model)


def _divided(mended: DataRows, splits: Splits) -> DataRows:
    """The rows that are in a split, each with the split that it is in."""
    where = {_key(one, one): split for split, rows in splits.items() for one in rows}
    return mended.with_rows(
        [
            replace(row, split=where[_key(row, example)])
            for _, row, example in mended.usable
            if _key(row, example) in where
        ]
    )


def _key(row: FileRow | Example, example: Example) -> tuple[int, str]:
    return row.line, example.content_hash()


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
