"""The data of the demo: made from the standard library, the same every time."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made():
    return runpy.run_path(str(ROOT / "examples" / "stdlib.py"))


@pytest.fixture(scope="module")
def order(made):
    return made["order"]()


def test_every_split_is_full_and_no_sentence_is_in_two(order):
    assert {split: len(rows) for split, rows in order.items()} == {
        "test": 500, "validation": 300, "train": 800,
    }  # fmt: skip
    words = [tuple(sorted(row["text"].split())) for rows in order.values() for row in rows]
    assert len({row["text"] for rows in order.values() for row in rows}) == len(words) == 1600
    assert len(set(words)) > 1590  # exchanging words keeps a sentence's words


def test_classes_are_balanced_and_no_capital_gives_one_away(order):
    for rows in order.values():
        exchanged = sum(row["label"] == "exchanged" for row in rows)
        assert 0.45 < exchanged / len(rows) < 0.55
        assert all(row["text"] == row["text"].lower() for row in rows)


def test_two_pairs_of_words_are_exchanged(made):
    before = "words, of all kinds, stand here."
    after = made["exchanged"](before)
    assert after == made["exchanged"](before)
    changed = [
        n for n, pair in enumerate(zip(before.split(), after.split(), strict=True))
        if pair[0].strip(",.") != pair[1].strip(",.")
    ]  # fmt: skip
    assert len(changed) == 4
    assert sorted(after) == sorted(before)
