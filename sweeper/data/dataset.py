"""The data set of a spec: one source or several, with the rows that features add to train.

Several sources are read and split one by one, by the same hash, and put together split by split.
Each row keeps the title of its source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from sweeper.data import checks
from sweeper.data.corpus import held_out
from sweeper.data.examples import SPLITS, Dataset, Example, Split
from sweeper.data.faults import DataFault
from sweeper.data.further_rows import with_further_rows
from sweeper.data.load import Choose, all_rows, fingerprint_of, load
from sweeper.data.load_large import load_any
from sweeper.data.splits import in_order, repeated_in, subset
from sweeper.errors import DataError, Problem
from sweeper.spec import DataSpec, Spec, Task
from sweeper.units import plural

Load = Callable[[DataSpec, Task, Choose], Dataset]


def dataset_of(spec: Spec, load_source: Load | None = None, choose: Choose = all_rows) -> Dataset:
    """The data set that a spec names, in three splits.

    Args:
        load_source: Reads and splits one source. By default, rows of a large file stay on the disk
            where it is the only source: several are put together in memory.
        choose: Leaves out rows of the splits.

    Raises:
        DataError: The data cannot be read, recognised or learnt from, or sources do not go
            together.
    """
    if spec.data.sources:
        dataset = _mixed(spec, load_source, choose)
    elif load_source is None:
        dataset = load_any(spec.data, spec.task)
    else:
        dataset = load_source(spec.data, spec.task, choose)
    return with_further_rows(dataset, spec)


def _mixed(spec: Spec, load_source: Load | None, choose: Choose) -> Dataset:
    sources = spec.data.sources
    parts = [
        replace(
            one,
            splits={
                split: tuple(replace(row, source=source.title) for row in rows)
                for split, rows in one.splits.items()
            },
        )
        for one, source in zip(_loaded(spec, load_source), sources, strict=True)
    ]
    whole = {split: in_order(_unshared(parts, split)) for split in SPLITS}
    splits = whole
    if spec.data.max_rows is not None:
        splits = subset(whole, max(spec.data.max_rows, len(SPLITS)))
        checks.check_subset(splits, whole, spec.data.max_rows)
    splits = choose(splits)
    checks.check_seen(splits, str(spec.data.named))
    titled = list(zip([source.title for source in sources], parts, strict=True))
    said = [f"{title}: {text}" for title, one in titled for text in one.warnings]
    tested = sum(len(one.splits["test"]) for one in parts)
    faults = [
        fault.model_copy(
            update={
                "text": f"{title}: {fault.text}",
                "share": fault.share * len(one.splits["test"]) / tested,
            }
        )
        for title, one in titled
        for fault in one.faults
    ]
    if dropped := sum(one.rows for one in parts) - sum(map(len, whole.values())):
        text = (
            f"{plural(dropped, 'row')} of train left out: the input is in validation or test of "
            "another source"
        )
        action = "Remove these rows from one of the sources."
        faults.append(DataFault(kind="leakage", rows=dropped, text=text, action=action))
        said.append(text)
    counts = sum((one.counts for one in parts), Counter[str]())
    hashed = {split for one in parts for split in SPLITS if one.origins[split] == "hash"}
    return replace(
        parts[0],
        path=str(spec.data.named),
        evidence=tuple(f"{title}: {text}" for title, one in titled for text in one.evidence),
        splits=dict(splits),
        origins={split: "hash" if split in hashed else "official" for split in SPLITS},
        labels=tuple(sorted({e.label for e in splits["train"] if e.label})),
        fingerprint=fingerprint_of(splits),
        counts=Counter({**counts, **repeated_in(splits).counts}),
        faults=tuple(faults),
        warnings=tuple(said),
        weights={s.title: s.weight for s in sources if s.weight is not None},
        further_rows=tuple(row for one in parts for row in one.further_rows),
    )


def _unshared(parts: Sequence[Dataset], split: Split) -> Iterator[Example]:
    """The rows of a split in all sources; of train, those whose input no other source holds out."""
    for one in parts:
        others = (row.key for other in parts if other is not one for row in held_out(other))
        keys = set(others) if split == "train" else set()
        yield from (row for row in one.splits[split] if row.key not in keys)


def _loaded(spec: Spec, load_source: Load | None) -> list[Dataset]:
    """Every source by itself."""
    loaded: list[Dataset] = []
    problems: list[Problem] = []
    for number, source in enumerate(spec.data.sources):
        fields = source.model_dump(exclude={"alias", "weight"})
        one: DataSpec = spec.data.model_copy(update={"sources": (), "max_rows": None, **fields})
        where = spec.places.where(("data", "sources", number, "path"))
        try:
            loaded.append(
                load_source(one, spec.task, all_rows) if load_source else load(one, spec.task)
            )
        except DataError as error:
            problems += [replace(p, where=f"{where} ({p.where})") for p in error.problems]
            continue
        if _form(loaded[-1]) != _form(loaded[0]):
            what = f"this source holds {_form(loaded[-1])}, but another holds {_form(loaded[0])}"
            why = "One loss is computed over all rows, so that they must be of one form."
            fix = "Leave it out."
            problems.append(Problem(what, why, fix, f"{where} ({source.path})"))
    if problems:
        raise DataError(problems)
    return loaded


def _form(dataset: Dataset) -> str:
    if dataset.labels:
        return "texts with labels"
    spoken = any(example.messages for example in dataset.splits["train"])
    return "questions with answers" if spoken else "plain text"
