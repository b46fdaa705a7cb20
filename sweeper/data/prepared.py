"""The data set of a spec as training sees it: with the changes that features make to its rows.
Files stay as they are; every change is listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.data.changes import ListedChange, applied, read_changes
from sweeper.data.dataset import dataset_of
from sweeper.data.examples import Dataset, Example
from sweeper.data.load import Choose, Splits, dataset_of_rows
from sweeper.data.rows import DataRows, FileRow, read_rows
from sweeper.errors import DataError
from sweeper.features import parts
from sweeper.spec import DataSpec, Spec, Task


@dataclass(frozen=True)
class PreparedData:
    """A data set, and what was done to the rows of its files, in order."""

    dataset: Dataset
    changes: tuple[ListedChange, ...] = ()


def changing(spec: Spec) -> dict[str, parts.Options]:
    """The options of the features that change rows of this request."""
    hooks = (parts.BEFORE_SPLIT, parts.AFTER_SPLIT)
    given = {name: getattr(spec.features, name) for hook in hooks for name, _ in hook.all()}
    return {name: options for name, options in given.items() if options != type(options)()}


def prepared_data(spec: Spec, record: Path | None = None) -> PreparedData:
    """The data set of a spec.

    Features change rows before they are split. Those that choose among all rows, of all sources
    together, do so after the split and change train alone: without its hard rows, a validation or
    test split would flatter every model.

    Args:
        record: The list of changes of the run that this is for. If it exists, it is applied, and
            no feature is asked again.

    Raises:
        DataError: The data cannot be read, recognised or learnt from.
        UsageError: A feature cannot make a change that the request asks for.
    """
    features = changing(spec)
    if not features:
        return PreparedData(dataset_of(spec))
    known = None if record is None or not record.is_file() else read_changes(record)
    changes: list[ListedChange] = []
    sources: list[DataRows] = []

    def changed(rows: DataRows, hook: parts.Hook[parts.ChangeRows]) -> DataRows:
        late = hook is parts.AFTER_SPLIT
        if known is not None:
            listed = [c for c in known if c.after_split == late and c.path in rows.forms]
            changes.extend(listed)
            return applied(rows, listed)
        for name, change in hook.all():
            if name in features:
                listed = [replace(c, after_split=late) for c in change(spec, rows)]
                changes.extend(listed)
                rows = applied(rows, listed)
        return rows

    def load_source(data: DataSpec, task: Task, choose: Choose) -> Dataset:
        sources.append(changed(read_rows(data, task), parts.BEFORE_SPLIT))
        return dataset_of_rows(sources[-1], data, choose)

    def choose(splits: Splits) -> Splits:
        rows = _rows_in(splits, spec, sources)
        forms = {path: form for source in sources for path, form in source.forms.items()}
        whole = replace(sources[0], forms=forms).with_rows(list(rows.values()))
        kept = changed(whole, parts.AFTER_SPLIT).usable
        labels = {(row.path, row.line): row.label for _, row, _ in kept}
        places = ((one, rows[_key(one.source, one)]) for one in splits["train"])
        train = tuple(
            replace(one, label=labels[row.path, row.line] or None)
            for one, row in places
            if (row.path, row.line) in labels
        )
        return {**splits, "train": train}

    return PreparedData(dataset_of(spec, load_source, choose), tuple(changes))


def unchanged(spec: Spec, record: Path, fingerprint: str | None, why: str) -> Dataset:
    """The data set of a run, which must be what its plan was made of.

    Raises:
        DataError: It is not, which matters because of ``why``.
    """
    dataset = prepared_data(spec, record).dataset
    if dataset.fingerprint != fingerprint:
        raise DataError(
            "the data has changed since the sweep",
            why=why,
            fix="Put the old data back, or run a new sweep on this data.",
            where=dataset.path,
        )
    return dataset


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
