"""Groups rows that must stay in one split, and gives each group a split by its hash or time.

A group's split by hash depends only on its own content, the shares and the seed. So rows that are
added later move no old row, unless they join its group.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate

from sweeper.data.examples import Example, Split, digest
from sweeper.data.near import NearTexts, SketchedText
from sweeper.errors import DataError
from sweeper.packages import install_command, require
from sweeper.spec import DataSpec


def assign_splits(
    examples: Sequence[Example], spec: DataSpec, shares: Mapping[Split, float]
) -> list[Split]:
    """The split of each row, as ``data.split_by`` says; ``shares`` are taken out of train.

    Raises:
        DataError: No row has a time to order it by.
        NotInstalled: rensa is missing, which finds near duplicates.
    """
    if spec.split_by != "time":
        find_near = spec.split_by == "hash"
        if find_near:
            require("data.split_by: hash", ["rensa"], install_command("data"))
        return by_hash(examples, shares, spec.split_seed, near=find_near)
    if all(time_of(example.group) is None for example in examples):
        raise DataError(
            f"`{spec.split_column}` holds no times, but for example {examples[0].group!r}",
            fix="Name a column with dates such as 2024-05-31, or with numbers.",
            where="data.split_column",
        )
    return by_time(examples, shares)


def by_hash(
    examples: Sequence[Example], shares: Mapping[Split, float], seed: int, *, near: bool
) -> list[Split]:
    """The split of each row by the hash of its group.

    Rows with the same input or value of ``data.split_column`` are one group; with ``near``, also
    chains of rows with nearly the same inputs, which needs rensa. ``shares`` are shares of the
    groups, for each split but train.
    """
    rows = [(row.key, f"value {row.group}" if row.group else row.key) for row in examples]
    groups = _DisjointSets()
    for key, name in rows:
        groups.join(key, name)
    if near:
        _join_near_duplicates(examples, groups)
    # A group with a value of the column is hashed by it, so that added rows do not move the group.
    names = groups.names(preferred={name for key, name in rows if name != key})
    ends = [*zip(accumulate(shares.values()), shares, strict=True)]
    positions = (int(digest(f"{seed}:{names[key]}"), 16) / 16**32 for key, _ in rows)
    return [
        next((split for end, split in ends if position < end), "train") for position in positions
    ]


def _join_near_duplicates(examples: Iterable[Example], groups: _DisjointSets) -> None:
    earlier_texts = NearTexts[str]()
    for key, text in {example.key: example.asked for example in examples}.items():
        if sketch := SketchedText.of(text):
            for other in earlier_texts.similar_to(sketch, partial(groups.apart, key)):
                groups.join(key, other)
            earlier_texts.add(key, sketch)


def widest_gap(labels: Mapping[Split, Sequence[str | None]]) -> tuple[float, str, Split]:
    """The largest gap between a class's share in a split and in all rows, with class and split.

    >>> widest_gap({"train": ["a", "b"], "test": ["a", "a"]})
    (0.25, 'a', 'train')
    """
    all_counts = Counter(label for part in labels.values() for label in part)
    gaps = [
        (abs(counts[label] / counts.total() - rows / all_counts.total()), str(label), split)
        for split, part in labels.items()
        if (counts := Counter(part))
        for label, rows in all_counts.items()
    ]
    return max(gaps, key=lambda gap: gap[0])


class _DisjointSets:
    """Disjoint sets of names (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def root(self, name: str) -> str:
        self._parent.setdefault(name, name)
        while (parent := self._parent[name]) != name:
            self._parent[name] = self._parent[parent]
            name = parent
        return name

    def apart(self, first: str, second: str) -> bool:
        return self.root(first) != self.root(second)

    def join(self, first: str, second: str) -> None:
        self._parent[self.root(first)] = self.root(second)

    def names(self, preferred: Set[str]) -> dict[str, str]:
        """Maps each name to the smallest preferred name in its set, else to the smallest name."""
        first_names: dict[str, tuple[bool, str]] = {}
        for name in self._parent:
            root, rank = self.root(name), (name not in preferred, name)
            first_names[root] = min(first_names.get(root, rank), rank)
        return {name: first_names[self.root(name)][1] for name in self._parent}


def by_time(examples: Sequence[Example], shares: Mapping[Split, float]) -> list[Split]:
    """The split of each row by its time: test has the latest rows, validation the ones before.

    Rows of one time stay together. Rows with the same input count with their earliest time. Rows
    without a time are in train.
    """
    earliest: dict[str, float] = {}
    for row in examples:
        if (time := time_of(row.group)) is not None:
            earliest[row.key] = min(earliest.get(row.key, time), time)
    latest = sorted((earliest[row.key] for row in examples if row.key in earliest), reverse=True)
    borders: list[tuple[float, Split]] = []
    taken_share = 0.0
    for split in ("test", "validation"):
        if split in shares:
            taken_share += shares[split]
            if (rows := round(taken_share * len(latest))) > 0:
                borders.append((latest[rows - 1], split))
    return [
        next(
            (split for border, split in borders if earliest.get(row.key, -1e300) >= border), "train"
        )
        for row in examples
    ]


_DATE_FORMATS = ("%Y/%m/%d", "%d.%m.%Y", "%Y%m%d", "%a, %d %b %Y %H:%M:%S %z")


def time_of(text: str) -> float | None:
    """The time that a text states, in seconds since 1970; None if it states none.

    Dates are in ISO form or in ``_DATE_FORMATS``; eight digits such as 20240531 are a date. Any
    other number is returned as it is.

    >>> time_of("2024-05-01") < time_of("2024-05-01T10:00:00Z"), time_of("soon")
    (True, None)
    """
    text = text.strip()
    if re.fullmatch(r"-?\d+(\.\d+)?", text) and not re.fullmatch(r"(19|20)\d{6}", text):
        return float(text)
    moment = None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        for form in _DATE_FORMATS:
            try:
                moment = datetime.strptime(text, form)
                break
            except ValueError:
                continue
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
