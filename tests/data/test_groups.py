"""Splits by the hash of a group alone, by a column, and by time."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.data.examples import Example
from sweeper.data.groups import by_hash, by_time, time_of
from sweeper.data.load_large import load
from sweeper.errors import DataError
from sweeper.spec import DataSpec

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
        ({"split_column": "day"}, "'day' would decide nothing"),
    ],
)
def test_a_column_that_cannot_decide_is_said(tmp_path, spec, said):
    path = write(tmp_path / "rows.jsonl", rows_of(60))
    with pytest.raises(DataError) as error:
        load(DataSpec(path=path, **spec), "classification")
    assert said in str(error.value)
