"""The data set of a spec as training sees it: one or several sources, with changes by features.

Several sources are read and split one by one, by the same hash, and put together split by split.
Each row keeps the title of its source. Features change no files; each of their changes is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeper.data.contents import limited_by_memory
from sweeper.data.examples import SPLITS, DataFault, Dataset, Example, Split
from sweeper.data.further_rows import with_further_rows
from sweeper.data.load import (
    Choose,
    Splits,
    all_rows,
    chosen_rows,
    dataset_of_rows,
    fingerprint_of,
    load,
)
from sweeper.data.rows import DataRows, FileRow, read_rows
from sweeper.data.similar import held_out
from sweeper.data.splits import in_order, repeated_in
from sweeper.data.write_rows import ListedChange, apply_changes, read_changes
from sweeper.errors import DataError, Problem
from sweeper.features import parts
from sweeper.spec import DataSpec, Spec, Task
from sweeper.units import plural

Load = Callable[[DataSpec, Task], Dataset]
"""A function that reads and splits one source."""


def dataset_of(spec: Spec, load_source: Load = load, choose: Choose = all_rows) -> Dataset:
    """The data set that a spec names, in three splits. Several sources are put together in memory.

    Args:
        choose: Function that leaves out rows of several sources; ``load_source`` does so for one.

    Raises:
        DataError: The data cannot be read, recognised or learnt from, or the sources differ in
            kind.
    """
    if spec.data.sources:
        dataset = _combine_sources(spec, load_source, choose)
    else:
        dataset = load_source(spec.data, spec.task)
    return with_further_rows(dataset, spec)


def _combine_sources(spec: Spec, load_source: Load, choose: Choose) -> Dataset:
    """The data sets of all sources as one, with their shares of faults weighted by test rows."""
    sources = spec.data.sources
    datasets = [
        replace(
            dataset,
            splits={
                split: tuple(
                    replace(row, source=source.title)
                    for row in limited_by_memory(rows, str(source.path))
                )
                for split, rows in dataset.splits.items()
            },
        )
        for dataset, source in zip(_load_sources(spec, load_source), sources, strict=True)
    ]
    all_splits = {split: in_order(_rows_of_split(datasets, split)) for split in SPLITS}
    splits = chosen_rows(all_splits, spec.data, choose)
    pairs = list(zip([source.title for source in sources], datasets, strict=True))
    warnings = [f"{title}: {text}" for title, dataset in pairs for text in dataset.warnings]
    test_rows = sum(len(dataset.splits["test"]) for dataset in datasets)
    faults = [
        fault.model_copy(
            update={
                "text": f"{title}: {fault.text}",
                "share": fault.share * len(dataset.splits["test"]) / test_rows,
            }
        )
        for title, dataset in pairs
        for fault in dataset.faults
    ]
    if dropped := sum(dataset.rows for dataset in datasets) - sum(map(len, all_splits.values())):
        text = (
            f"{plural(dropped, 'row')} of train left out: the input is in validation or test of "
            "another source"
        )
        action = "Remove these rows from one of the sources."
        faults.append(DataFault(kind="leakage", rows=dropped, text=text, action=action))
        warnings.append(text)
    counts = sum((dataset.counts for dataset in datasets), Counter[str]())
    from_hash = {
        split for dataset in datasets for split in SPLITS if dataset.origins[split] == "hash"
    }
    return replace(
        datasets[0],
        path=str(spec.data.named),
        evidence=tuple(f"{title}: {text}" for title, dataset in pairs for text in dataset.evidence),
        splits=splits,
        origins={split: "hash" if split in from_hash else "official" for split in SPLITS},
        labels=tuple(sorted({e.label for e in splits["train"] if e.label})),
        fingerprint=fingerprint_of(splits),
        counts=Counter({**counts, **repeated_in(splits).counts}),
        faults=tuple(faults),
        warnings=tuple(warnings),
        weights={s.title: s.weight for s in sources if s.weight is not None},
        further_rows=tuple(row for dataset in datasets for row in dataset.further_rows),
    )


def _rows_of_split(datasets: Sequence[Dataset], split: Split) -> Iterator[Example]:
    """The rows of a split in all sources; train lacks inputs that another source holds out."""
    for dataset in datasets:
        others = [each for each in datasets if each is not dataset and split == "train"]
        held_out_keys = {row.key for other in others for row in held_out(other)}
        yield from (row for row in dataset.splits[split] if row.key not in held_out_keys)


def _load_sources(spec: Spec, load_source: Load) -> list[Dataset]:
    """The data set of each source.

    Raises:
        DataError: A source cannot be loaded, or holds other content than the first one.
    """
    loaded: list[Dataset] = []
    problems: list[Problem] = []
    for number, source in enumerate(spec.data.sources):
        fields = source.model_dump(exclude={"alias", "weight"})
        source_spec: DataSpec = spec.data.model_copy(
            update={"sources": (), "max_rows": None, **fields}
        )
        where = spec.places.where(("data", "sources", number, "path"))
        try:
            loaded.append(load_source(source_spec, spec.task))
        except DataError as error:
            problems += [replace(p, where=f"{where} ({p.where})") for p in error.problems]
            continue
        if _content_of(loaded[-1]) != _content_of(loaded[0]):
            content, expected = _content_of(loaded[-1]), _content_of(loaded[0])
            what = f"this source holds {content}, but another holds {expected}"
            why = "One loss is computed over all rows, so they must be of one kind."
            fix = "Leave this source out."
            problems.append(Problem(what, why, fix, f"{where} ({source.path})"))
    if problems:
        raise DataError(problems)
    return loaded


def _content_of(dataset: Dataset) -> str:
    """What the rows of a data set are, in words."""
    if dataset.labels:
        return "texts with labels"
    has_messages = any(example.messages for example in dataset.splits["train"])
    return "questions with answers" if has_messages else "plain text"


@dataclass(frozen=True)
class PreparedData:
    """A data set, and the changes that were made to the rows of its files, in order."""

    dataset: Dataset
    changes: tuple[ListedChange, ...] = ()


def changing_features(spec: Spec) -> dict[str, parts.Options]:
    """The options of each feature that the request asks to change rows, by name."""
    hooks = (parts.BEFORE_SPLIT, parts.AFTER_SPLIT)
    all_options = {name: getattr(spec.features, name) for hook in hooks for name, _ in hook.all()}
    return {name: options for name, options in all_options.items() if options != type(options)()}


def prepared_data(spec: Spec, record: Path | None = None) -> PreparedData:
    """The data set of a spec.

    Features change rows before they are split. Features that choose among the rows of all sources
    run after the split and change train alone: without its hard rows, a validation or test split
    would overstate every model's score.

    Args:
        record: File of the run's list of changes. If it exists, its changes are made, and features
            are not asked for any.

    Raises:
        DataError: The data cannot be read, recognised or learnt from.
        UsageError: A feature cannot make a change that the request asks for.
    """
    features = changing_features(spec)
    if not features:
        return PreparedData(dataset_of(spec))
    recorded = None if record is None or not record.is_file() else read_changes(record)
    changes: list[ListedChange] = []
    sources: list[DataRows] = []

    def with_changes(rows: DataRows, hook: parts.Hook[Any]) -> DataRows:
        """The rows after the changes of a hook's features, which are added to the list."""
        after_split = hook is parts.AFTER_SPLIT
        if recorded is not None:
            changes_of_hook = [
                c for c in recorded if c.after_split == after_split and c.path in rows.forms
            ]
            changes.extend(changes_of_hook)
            return apply_changes(rows, changes_of_hook)
        for name, change in hook.all():
            if name in features:
                changes_of_hook = [replace(c, after_split=after_split) for c in change(spec, rows)]
                changes.extend(changes_of_hook)
                rows = apply_changes(rows, changes_of_hook)
        return rows

    def load_source(data: DataSpec, task: Task) -> Dataset:
        sources.append(with_changes(read_rows(data, task), parts.BEFORE_SPLIT))
        return dataset_of_rows(sources[-1], data, all_rows if spec.data.sources else choose)

    def choose(splits: Splits) -> Splits:
        """The splits with the rows of train that features keep, under the labels they give."""
        rows = _rows_in(splits, spec, sources)
        forms = {path: form for source in sources for path, form in source.forms.items()}
        chosen_data = replace(sources[0], forms=forms).with_rows(list(rows.values()))
        usable_rows = with_changes(chosen_data, parts.AFTER_SPLIT).usable
        labels = {(row.path, row.line): row.label for _, row, _ in usable_rows}
        pairs = ((example, rows[_key(example.source, example)]) for example in splits["train"])
        train = tuple(
            replace(example, label=labels[row.path, row.line] or None)
            for example, row in pairs
            if (row.path, row.line) in labels
        )
        return {**splits, "train": train}

    return PreparedData(dataset_of(spec, load_source, choose), tuple(changes))


def unchanged_dataset(spec: Spec, record: Path, fingerprint: str | None, why: str) -> Dataset:
    """The data set of a run, which must have the fingerprint in its plan.

    Args:
        why: What a change of the data makes impossible, as a sentence.

    Raises:
        DataError: The fingerprint differs.
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
    """The rows of the files that are in some split, each with its split, by ``_key``."""
    split_by_key = {
        _key(example.source, example): split for split, rows in splits.items() for example in rows
    }
    titles = [source.title for source in spec.data.sources] or [""]
    return {
        key: replace(row, split=split_by_key[key])
        for title, source in zip(titles, sources, strict=True)
        for _, row, example in source.usable
        if (key := _key(title, example)) in split_by_key
    }


def _key(source: str, example: Example) -> tuple[str, int, str]:
    """What identifies a row: the title of its source, its line and its content."""
    return source, example.line, example.content_hash()
