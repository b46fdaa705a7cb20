"""Splits follow content: order does not matter, duplicates stay together, no class is lost."""

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.data.examples import SPLITS, Example, input_key
from sweeper.data.load import load
from sweeper.data.splits import (
    apportioned,
    by_hash,
    by_time,
    in_order,
    proportional,
    sample_rows,
    subset,
    take_splits,
    time_of,
)
from sweeper.errors import DataError
from sweeper.spec import DataSpec

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


SHARES = {"validation": 0.2, "test": 0.2}
WORDS = ["account", "bread", "cloud", "dragon", "engine", "forest", "guitar", "harbour", "island",
         "jacket", "kitchen", "ladder", "mirror", "needle", "orange", "pepper"]  # fmt: skip


def sentences(count, seed):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=8)) for _ in range(count)]


def members(texts):
    return [Example(text, 0, text) for text in texts]


@given(st.lists(st.text(max_size=8), min_size=1), st.lists(st.text(max_size=8)), st.integers())
def test_rows_that_are_added_move_no_old_row(old, new, seed):
    before = dict(zip(old, by_hash(members(old), SHARES, seed, near=False), strict=True))
    both = [*new, *old]
    after = dict(zip(both, by_hash(members(both), SHARES, seed, near=False), strict=True))
    assert {text: after[text] for text in old} == before


@given(
    old=st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcdefgh")), min_size=1),
    new=st.lists(st.tuples(st.integers(31, 60), st.sampled_from("abcdefghijkl"))),
)
def test_rows_that_are_added_to_a_group_of_a_column_do_not_move_it(old, new):
    old = list({key: (key, value) for key, value in old}.values())
    rows = [Example(str(key), 0, group=value) for key, value in old]
    more = [Example(str(key), 0, group=value) for key, value in dict(new).items()]
    before = by_hash(rows, SHARES, 0, near=False)
    assert by_hash([*rows, *more], SHARES, 0, near=False)[: len(rows)] == before
    assert len({(row.group, split) for row, split in zip(rows, before, strict=True)}) == len(
        {row.group for row in rows}
    )


def test_with_near_duplicates_only_rows_that_join_a_group_can_move():
    old = sentences(150, 1)
    before = by_hash(members(old), SHARES, 0, near=True)
    assert all(15 < before.count(split) < 45 for split in SHARES)
    joining = [f"{text}s" for text in old[:20]]
    after = by_hash(members([*sentences(150, 2), *joining, *old]), SHARES, 0, near=True)
    assert after[170 + 20 :] == before[20:]
    assert after[150:170] == after[170:190]  # near duplicates stay together


def test_a_chain_of_near_duplicates_is_one_group():
    text = "please send the parcel to my new address in the north of the town"
    chain = [text, f"{text} today", f"{text} today at noon", f"{text} today at noon or so"]
    for seed in range(10):
        assert len(set(by_hash(members(chain), SHARES, seed, near=True))) == 1


def test_the_last_rows_are_the_test_and_repeats_stay_with_the_first():
    rows = [Example(f"row {n}", 0, group=f"2024-01-{n + 1:02}") for n in range(20)]
    again = Example("row 0", 0, group="2024-02-01")
    found = by_time([*rows, again, Example("undated", 0)], {"validation": 0.2, "test": 0.1})
    assert found[:20] == ["train"] * 14 + ["validation"] * 4 + ["test"] * 2
    assert found[20:] == ["train", "train"]


@pytest.mark.parametrize(
    "times",
    [
        ("2024-05-31", "2024-06-01"),
        ("2024-05-31 23:59:59", "2024-06-01T00:00:00Z"),
        ("31.05.2024", "01.06.2024"),
        ("20240531", "20240601"),
        ("1717199999", "1717200000.5"),
    ],
)
def test_times_are_read_in_usual_forms(times):
    first, second = map(time_of, times)
    assert first < second


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(count):
    return [
        {
            "text": text,
            "label": "ab"[n % 2],
            "user": f"u{n % 30}",
            "day": f"2024-01-{n % 28 + 1:02}",
        }
        for n, text in enumerate(sentences(count, 3))
    ]


def placed(dataset):
    return {one.text: split for split, part in dataset.splits.items() for one in part}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"split_by": "hash"}, "by the hash of each group of near duplicates alone"),
        ({"split_by": "group", "split_column": "user"}, "by the hash of `user`"),
        ({"split_by": "time", "split_column": "day"}, "by the time in `day`"),
    ],
)
def test_a_data_set_is_split_as_its_spec_says(tmp_path, spec, said):
    rows = rows_of(300)
    dataset = load(DataSpec(path=write(tmp_path / "rows.jsonl", rows), **spec), "classification")
    where = placed(dataset)
    assert len(where) == len({row["text"] for row in rows})
    assert any(said in one for one in dataset.evidence)
    assert any("class shares differ by up to" in one for one in dataset.evidence)
    if spec["split_by"] == "group":
        pairs = {(row["user"], where[row["text"]]) for row in rows}
        assert len(pairs) == 30
    if spec["split_by"] == "time":
        days = {split: {r["day"] for r in rows if where[r["text"]] == split} for split in SHARES}
        assert max(days["validation"]) < min(days["test"])


def test_official_splits_are_kept(tmp_path):
    rows = rows_of(200)
    write(tmp_path / "train.jsonl", rows[:150])
    write(tmp_path / "test.jsonl", rows[150:])
    dataset = load(DataSpec(path=str(tmp_path), split_by="hash"), "classification")
    assert len(dataset.splits["test"]) == 50
    assert dataset.origins["test"] == "official"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"split_by": "group"}, "no column to split by"),
        ({"split_by": "time", "split_column": "dya"}, "there is no column 'dya' to split by"),
        ({"split_by": "time", "split_column": "user"}, "`user` holds no times, but for example"),
        ({"split_column": "day"}, "'day' is named to split by, but not used"),
    ],
)
def test_a_column_that_cannot_decide_is_said(tmp_path, spec, said):
    path = write(tmp_path / "rows.jsonl", rows_of(60))
    with pytest.raises(DataError) as error:
        load(DataSpec(path=path, **spec), "classification")
    assert said in str(error.value)
