"""The data set of a spec: one source or several, with augmented rows beside train.

Several sources are read and split one by one, by the same hash, and put together split by split.
Each row keeps the title of its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from sweeper.data import checks
from sweeper.data.augment.join import with_augmented
from sweeper.data.examples import SPLITS, Dataset, Example, Split
from sweeper.data.load import fingerprint_of, load
from sweeper.data.splits import in_order, subset
from sweeper.errors import DataError, Problem
from sweeper.spec import DataSpec, SourceSpec, Spec, Task

Splits = dict[Split, tuple[Example, ...]]
Load = Callable[[DataSpec, Task], Dataset]


def dataset_of(spec: Spec, load_source: Load = load) -> Dataset:
    """The data set that a spec names, in three splits.

    Args:
        load_source: Reads and splits one source.

    Raises:
        DataError: The data cannot be read, recognised or learnt from, or sources do not go
            together.
    """
    dataset = _mixed(spec, load_source) if spec.data.sources else load_source(spec.data, spec.task)
    return with_augmented(dataset, spec)


def _mixed(spec: Spec, load_source: Load) -> Dataset:
    loaded = _loaded(spec, load_source)
    _check_forms(loaded, spec)
    splits, dropped = _joined(loaded, spec.data.sources)
    name = str(spec.data.named)
    whole = splits
    if spec.data.max_rows is not None:
        splits = subset(whole, max(spec.data.max_rows, len(SPLITS)))
        checks.check_subset(splits, whole, spec.data.max_rows)
    checks.check_seen(splits, name)
    first, titles = loaded[0], [source.title for source in spec.data.sources]
    said = [f"{t}: {text}" for t, one in zip(titles, loaded, strict=True) for text in one.warnings]
    if dropped:
        said.append(
            f"{dropped:,} rows of train are left out: their input is in validation or test of "
            "another source"
        )
    if variants := checks.spelling_variants({e.label for e in splits["train"] if e.label}):
        said.append(f"labels of different sources that may be the same: {', '.join(variants)}")
    return replace(
        first,
        path=name,
        evidence=tuple(
            f"{t}: {text}" for t, one in zip(titles, loaded, strict=True) for text in one.evidence
        ),
        splits=splits,
        origins={
            split: "official" if all(o.origins[split] == "official" for o in loaded) else "hash"
            for split in SPLITS
        },
        labels=tuple(sorted({e.label for e in splits["train"] if e.label})),
        fingerprint=fingerprint_of(splits),
        duplicates=checks.duplicates(splits),
        empties=sum(one.empties for one in loaded),
        skipped=sum(one.skipped for one in loaded),
        leaked=checks.leaked(splits),
        conflicting=checks.conflicting(splits),
        encoding_problems=sum(one.encoding_problems for one in loaded),
        warnings=tuple(said),
        weights={s.title: s.weight for s in spec.data.sources if s.weight is not None},
        augmented=tuple(row for one in loaded for row in one.augmented),
    )


def _loaded(spec: Spec, load_source: Load) -> list[Dataset]:
    loaded: list[Dataset] = []
    problems: list[Problem] = []
    common = {"sources": (), "max_rows": None}
    for number, source in enumerate(spec.data.sources):
        fields = source.model_dump(
            include={"path", "name", "split", "revision", "format", "columns"}
        )
        one: DataSpec = spec.data.model_copy(update={**common, **fields})
        try:
            loaded.append(load_source(one, spec.task))
        except DataError as error:
            where = _where(spec, number)
            problems += [replace(p, where=f"{where} ({p.where})") for p in error.problems]
    if problems:
        raise DataError(problems)
    return loaded


def _where(spec: Spec, number: int) -> str:
    return spec.places.where(("data", "sources", number, "path"))


def _form(dataset: Dataset) -> str:
    if dataset.labels:
        return "texts with labels"
    spoken = any(example.messages for example in dataset.splits["train"])
    return "questions with answers" if spoken else "plain text"


def _check_forms(loaded: Sequence[Dataset], spec: Spec) -> None:
    first = _form(loaded[0])
    problems = [
        Problem(
            f"this source holds {_form(one)}, but {spec.data.sources[0].title} holds {first}",
            "One loss is computed over all rows, so that they must be of one form.",
            "Leave it out, or give general text with data.general, which training replays.",
            f"{_where(spec, number)} ({one.path})",
        )
        for number, one in enumerate(loaded)
        if _form(one) != first
    ]
    if problems:
        raise DataError(problems)


def _joined(loaded: Sequence[Dataset], sources: Sequence[SourceSpec]) -> tuple[Splits, int]:
    """The splits of all sources, and how many train rows were left out since a held-out row of
    another source has their input."""
    rows: dict[Split, list[Example]] = {split: [] for split in SPLITS}
    for one, source in zip(loaded, sources, strict=True):
        for split, examples in one.splits.items():
            into: Split = "train" if source.train_only else split
            rows[into] += [replace(example, source=source.title) for example in examples]
    by_source: Mapping[str, set[str]] = {
        source.title: {e.key for s in SPLITS[1:] for e in rows[s] if e.source == source.title}
        for source in sources
    }
    train = [
        example
        for example in rows["train"]
        if not any(
            example.key in keys for title, keys in by_source.items() if title != example.source
        )
    ]
    dropped = len(rows["train"]) - len(train)
    splits = {split: in_order(train if split == "train" else rows[split]) for split in SPLITS}
    return splits, dropped
