"""Splits follow content: order does not matter, duplicates stay together, no class is lost."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sweeper.data.examples import SPLITS, Example, input_key
from sweeper.data.splits import (
    apportioned,
    in_order,
    proportional,
    sample_rows,
    subset,
    take_splits,
)

BOTH = {"validation": 0.15, "test": 0.15}


def example(text, label=None, line=1):
    return Example(input_key(text), line, text=text, label=label)


def rows(count, classes=1):
    return [example(f"row {n}", f"class {n % classes}", n) for n in range(count)]


def keys(part):
    return {e.key for e in part}


def test_shares_are_as_asked_and_every_row_is_somewhere():
    parts = take_splits(rows(1000), BOTH, 0)
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 700,
        "validation": 150,
        "test": 150,
    }
    assert not keys(parts["train"]) & keys(parts["validation"])


def test_order_of_rows_does_not_matter_but_the_seed_does():
    shuffled = rows(300, 3)
    random.Random(1).shuffle(shuffled)
    first, second = take_splits(rows(300, 3), BOTH, 0), take_splits(shuffled, BOTH, 0)
    for split in SPLITS:
        assert in_order(first[split]) == in_order(second[split])
    other = take_splits(rows(300, 3), BOTH, 1)
    assert keys(other["test"]) != keys(first["test"])


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["x", "y", "z"])),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 5),
)
def test_rows_that_ask_the_same_stay_together(pairs, seed):
    parts = take_splits([example(text, label) for text, label in pairs], BOTH, seed)
    assert sum(map(len, parts.values())) == len(pairs)
    for one, other in (("train", "validation"), ("train", "test"), ("validation", "test")):
        assert not keys(parts[one]) & keys(parts[other])


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 3))
def test_a_class_with_three_inputs_is_in_every_split(sizes, seed):
    data = [
        example(f"{label}-{n}", f"c{label}")
        for label, size in enumerate(sizes)
        for n in range(size)
    ]
    parts = take_splits(data, BOTH, seed)
    for label, size in enumerate(sizes):
        found = {split for split in SPLITS if any(e.label == f"c{label}" for e in parts[split])}
        expected = {1: {"train"}, 2: {"train", "validation"}}.get(size, set(SPLITS))
        assert found == expected


def test_only_missing_splits_are_taken_out():
    parts = take_splits(rows(100), {"validation": 0.2}, 0)
    assert {split: len(part) for split, part in parts.items()} == {"train": 80, "validation": 20}
    assert {split: len(part) for split, part in take_splits(rows(5), {}, 0).items()} == {"train": 5}


def test_a_split_is_in_key_order_and_same_content_has_a_fixed_place():
    data = [example("b", "y", 1), example("b", "x", 2), example("a", "x", 3)]
    ordered = in_order(data)
    assert [e.key for e in ordered] == sorted(e.key for e in data)
    assert in_order(reversed(data)) == ordered


def test_a_subset_keeps_proportions_of_splits_and_classes():
    data = {
        "train": in_order(rows(700, 7)),
        "validation": in_order(rows(150, 7)),
        "test": in_order(rows(150, 7)),
    }
    small = subset(data, 200)
    assert {split: len(part) for split, part in small.items()} == {
        "train": 140,
        "validation": 30,
        "test": 30,
    }
    assert set(Counter(e.label for e in small["train"]).values()) == {20}
    assert keys(subset(data, 100)["train"]) < keys(small["train"])
    assert list(small["train"]) == [e for e in data["train"] if e in set(small["train"])]


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 50), min_size=1),
    st.integers(0, 200),
)
def test_proportional_numbers_add_up_and_nobody_is_forgotten(counts, total):
    quota = proportional(counts, total)
    assert sum(quota.values()) == min(total, sum(counts.values()))
    assert all(0 <= quota[name] <= counts[name] for name in counts)
    if total >= len(counts):
        assert all(quota.values())


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(1, 500))
def test_apportioned_numbers_add_up_and_are_off_by_less_than_a_row(weights, size):
    counts = apportioned(weights, size)
    assert sum(counts) == size
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - size * weight / sum(weights)) < 1


def test_a_part_lies_within_a_larger_one_and_keeps_the_shares_of_classes():
    examples = in_order(
        example(f"row {n}", "rare" if n % 10 == 0 else "usual", n) for n in range(400)
    )
    quarter, half = sample_rows(examples, 100, seed=3), sample_rows(examples, 200, seed=3)
    assert keys(quarter) < keys(half) < keys(examples)
    assert Counter(e.label for e in quarter) == {"usual": 90, "rare": 10}
    assert quarter == in_order(quarter)
    assert keys(sample_rows(examples, 100, seed=4)) != keys(quarter)
    assert sample_rows(examples, 400, seed=3) == examples


def test_every_class_is_in_a_part_that_has_room_for_it():
    examples = in_order([*rows(40, 8), example("alone", "alone")])
    assert len({e.label for e in sample_rows(examples, 9, seed=0)}) == 9
