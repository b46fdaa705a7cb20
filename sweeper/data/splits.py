"""Splits examples into train, validation and test: by the hash of their content, or by a column.

Inputs are ordered by a hash of their text and the seed; a row's line does not matter. Rows with
the same input stay together, so no answer can leak.

Within each class, the first inputs are for validation, the next ones for test, the rest for train.
So each class has its share of every split, and a class with at least three different inputs is in
every split (of two, one goes to train and one to validation).

With ``data.split_by``, groups of rows are split instead, without regard to classes.
"""

from __future__ import annotations

import math
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from functools import partial
from heapq import nsmallest
from itertools import accumulate
from typing import TypeVar

from sweeper.data.examples import Example, Split, digest
from sweeper.data.near import NearTexts, SketchedText
from sweeper.errors import DataError
from sweeper.packages import install_command, require
from sweeper.spec import DataSpec

Name = TypeVar("Name", bound=Hashable)


def take_splits(
    examples: Iterable[Example], fractions: Mapping[Split, float], seed: int
) -> dict[Split, list[Example]]:
    """The examples of each split in ``fractions`` and, with the rest, of train.

    Args:
        fractions: The share of the inputs for each split, above 0.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.key].append(example)
    classes = {key: class_of(row.label for row in members) for key, members in groups.items()}
    split_of = placement(classes.items(), fractions, seed)
    parts: dict[Split, list[Example]] = {split: [] for split in ("train", *fractions)}
    for key, members in groups.items():
        parts[split_of(key, classes[key])] += members
    return parts


def placement(
    inputs: Iterable[tuple[str, str]], fractions: Mapping[Split, float], seed: int
) -> Callable[[str, str], Split]:
    """A function from an input's key and class to its split.

    Args:
        inputs: Key and class of every input.
        fractions: The share of the inputs of each class for each split; train gets the rest.
    """

    def hash_number(key: str) -> int:
        return int(digest(f"{seed}:{key}")[:16], 16)

    numbers: dict[str, array[int]] = defaultdict(lambda: array("Q"))
    for key, class_name in inputs:
        numbers[class_name].append(hash_number(key))
    # The largest hash number of each split of a class; train has those above.
    limits: dict[str, list[tuple[int, Split]]] = {}
    for class_name, class_numbers in numbers.items():
        sizes = class_sizes(len(class_numbers), fractions)
        ends = list(accumulate(sizes[split] for split in fractions))
        smallest = nsmallest(ends[-1] if ends else 0, class_numbers)
        limits[class_name] = [
            (smallest[end - 1], split)
            for end, split in zip(ends, fractions, strict=True)
            if sizes[split]
        ]
    return lambda key, class_name: next(
        (split for limit, split in limits[class_name] if hash_number(key) <= limit), "train"
    )


def class_of(labels: Iterable[str | None]) -> str:
    """The commonest label of rows with the same input; empty if they have none."""
    counts = Counter(label or "" for label in labels)
    return min(counts, key=lambda label: (-counts[label], label))


def class_sizes(inputs: int, fractions: Mapping[Split, float]) -> dict[Split, int]:
    """The number of inputs of one class for each split. Each split gets one before any gets two."""
    sizes: dict[Split, int] = {}
    remaining_inputs = inputs - 1  # train gets at least one
    for number, split in enumerate(fractions, start=1):
        later_splits = len(fractions) - number
        requested = max(1, round(inputs * fractions[split]))
        sizes[split] = max(
            min(requested, remaining_inputs - later_splits), min(1, remaining_inputs)
        )
        remaining_inputs -= sizes[split]
    return {**sizes, "train": remaining_inputs + 1}


def shares(rows: int, fractions: Mapping[Split, float], max_rows: int | None) -> dict[Split, float]:
    """The share of ``rows`` that each split takes: as requested, but at most ``max_rows`` rows.

    >>> shares(1000, {"test": 0.15}, 2500), shares(1_000_000, {"test": 0.15}, 2500)
    ({'test': 0.15}, {'test': 0.0025})
    """
    max_share = 1.0 if max_rows is None else max_rows / max(rows, 1)
    return {split: min(fraction, max_share) for split, fraction in fractions.items()}


def requested_fractions(spec: DataSpec) -> dict[Split, float]:
    """The shares of the inputs that a spec asks for."""
    return {"validation": spec.validation_fraction, "test": spec.test_fraction}


def sizes(rows: int, fractions: Mapping[Split, float], max_rows: int | None) -> dict[Split, int]:
    """Rows of each split of a data set without classes in which every input differs.

    >>> sizes(2000, {"validation": 0.15, "test": 0.15}, 2500)
    {'validation': 300, 'test': 300, 'train': 1400}
    """
    return class_sizes(rows, shares(rows, fractions, max_rows))


@dataclass
class Repeated:
    """How many rows repeat others, by kind (see ``Dataset.counts``): in all splits and in test."""

    counts: Counter[str] = field(
        default_factory=lambda: Counter(duplicates=0, leakage=0, conflicts=0)
    )
    in_test: Counter[str] = field(default_factory=Counter)

    def add(self, splits: Sequence[Split], hashes: Iterable[str], answers: Iterable[str]) -> None:
        """Count the rows of one input, by the split, content hash and answer of each."""
        if (rows := len(splits)) > 1:
            contents = list(zip(splits, hashes, strict=True))
            held_out_rows = sum(split != "train" for split in splits)
            test_hashes = [content_hash for split, content_hash in contents if split == "test"]
            self.counts["duplicates"] += rows - len(set(contents))
            self.in_test["duplicates"] += len(test_hashes) - len(set(test_hashes))
            if held_out_rows < rows:
                self.counts["leakage"] += held_out_rows
                self.in_test["leakage"] += len(test_hashes)
            if len(set(answers)) > 1:
                self.counts["conflicts"] += rows
                self.in_test["conflicts"] += len(test_hashes)


def repeated_in(splits: Mapping[Split, Sequence[Example]]) -> Repeated:
    """How many rows of the splits repeat others."""
    groups: dict[str, list[tuple[Split, Example]]] = defaultdict(list)
    for split, examples in splits.items():
        for example in examples:
            groups[example.key].append((split, example))
    repeated = Repeated()
    for group in groups.values():
        rows = [example for _, example in group]
        hashes, answers = (e.content_hash() for e in rows), (e.answer for e in rows)
        repeated.add([split for split, _ in group], hashes, answers)
    return repeated


def in_order(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The examples sorted by key, content hash and line: their order in the files has no effect."""
    return tuple(sorted(examples, key=lambda e: (e.key, e.content_hash(), e.line)))


def sample_rows(examples: Sequence[Example], rows: int, seed: int) -> tuple[Example, ...]:
    """``rows`` of the examples, stratified by class, in their original order.

    Of each class, the first rows in the order of a hash are taken. With the same seed, a larger
    sample contains a smaller one.
    """
    hashed_examples = sorted(
        (digest(f"{seed}:{example.key}"), index, example.label)
        for index, example in enumerate(examples)
    )
    sizes, taken_rows = Counter(label for _, _, label in hashed_examples), Counter[str | None]()
    ranked = []
    for order, (_, index, label) in enumerate(hashed_examples):
        ranked.append((taken_rows[label] / sizes[label], order, index))
        taken_rows[label] += 1
    ranked.sort()
    return tuple(examples[index] for index in sorted(index for _, _, index in ranked[:rows]))


def subset(
    splits: Mapping[Split, Sequence[Example]], rows: int
) -> dict[Split, tuple[Example, ...]]:
    """About ``rows`` rows in all, with the proportions of the splits and of their classes.

    Each split and, as far as there is room, each class keeps at least one row. Of each class, the
    first rows of the split are taken; loaded splits are in key order.
    """
    sizes = proportional({split: len(examples) for split, examples in splits.items()}, rows)
    return {split: _class_sample(splits[split], sizes[split]) for split in splits}


def _class_sample(examples: Iterable[Example], rows: int) -> tuple[Example, ...]:
    quota = proportional(Counter(example.label for example in examples), rows)
    taken_rows: Counter[str | None] = Counter()
    sample = []
    for example in examples:
        if taken_rows[example.label] < quota[example.label]:
            taken_rows[example.label] += 1
            sample.append(example)
    return tuple(sample)


def proportional(counts: Mapping[Name, int], total: int) -> dict[Name, int]:
    """Whole numbers in the proportion of ``counts`` that add up to ``total``, none above its count.

    Each name gets at least one. If the total is too small, those with the largest counts get one.

    >>> proportional({"a": 90, "b": 9, "c": 1}, 10)
    {'a': 8, 'b': 1, 'c': 1}
    """
    names = sorted(counts, key=lambda name: (-counts[name], str(name)))
    sum_of_counts = sum(counts.values())
    total = min(total, sum_of_counts)
    if total <= len(names):
        return {name: int(rank < total) for rank, name in enumerate(names)}
    if small_counts := {name: 1 for name in names if counts[name] * total < sum_of_counts}:
        others = {name: counts[name] for name in names if name not in small_counts}
        return proportional(others, total - len(small_counts)) | small_counts
    return dict(zip(names, apportioned([counts[name] for name in names], total), strict=True))


def apportioned(weights: Sequence[float], total: int) -> list[int]:
    """Whole numbers in the proportion of the weights that add up to ``total``.

    >>> apportioned([3, 1], 10), apportioned([1, 1, 1], 10)
    ([8, 2], [4, 3, 3])
    """
    exact_weights = [Fraction(weight) for weight in weights]
    quotas = [total * weight / sum(exact_weights) for weight in exact_weights]
    counts = [int(quota) for quota in quotas]
    by_remainder = sorted(range(len(quotas)), key=lambda index: counts[index] - quotas[index])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def assign_splits(
    examples: Sequence[Example], spec: DataSpec, shares: Mapping[Split, float]
) -> list[Split]:
    """The split of each row, as ``data.split_by`` says.

    Args:
        shares: The share of each split but train, which gets the rest.

    Raises:
        DataError: No row has a time to order it by.
        NotInstalled: rensa is missing, which finds near duplicates.
    """
    if spec.split_by != "time":
        near = spec.split_by == "hash"
        if near:
            require("data.split_by: hash", ["rensa"], install_command("data"))
        return by_hash(examples, shares, spec.split_seed, near=near)
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

    Rows with the same input or value of ``data.split_column`` are one group. A group's split
    depends only on its own content, the shares and the seed. So rows that are added later move no
    old row, unless they join its group.

    Args:
        shares: The share of the groups for each split but train.
        near: Whether rows with nearly the same inputs are one group, too, which needs rensa.
    """
    # Each row's input, and its value of the column; without a value, the input again.
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
    """Join the groups of inputs that are nearly the same."""
    earlier_texts = NearTexts[str]()
    for key, text in {example.key: example.input for example in examples}.items():
        if sketch := SketchedText.of(text):
            for other in earlier_texts.similar_to(sketch, wanted=partial(groups.apart, key)):
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
    """Disjoint sets of names (union-find); a new name is a set of its own."""

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
        """From each name to the smallest preferred name in its set, or to the smallest name."""
        first_names: dict[str, tuple[bool, str]] = {}
        for name in self._parent:
            root, rank = self.root(name), (name not in preferred, name)
            first_names[root] = min(first_names.get(root, rank), rank)
        return {name: first_names[self.root(name)][1] for name in self._parent}


def by_time(examples: Sequence[Example], shares: Mapping[Split, float]) -> list[Split]:
    """The split of each row by its time: test has the latest rows, validation the ones before.

    Rows of one time stay together. Rows with the same input have the earliest of their times. Rows
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
            (split for border, split in borders if earliest.get(row.key, -math.inf) >= border),
            "train",
        )
        for row in examples
    ]


_DATE_FORMATS = ("%Y/%m/%d", "%d.%m.%Y", "%Y%m%d", "%a, %d %b %Y %H:%M:%S %z")


def time_of(text: str) -> float | None:
    """The time that a text states, in seconds since 1970; None if it states none.

    Dates have the ISO format or one of ``_DATE_FORMATS``; eight digits such as 20240531 are a date.
    Any other number is returned as it is.

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
