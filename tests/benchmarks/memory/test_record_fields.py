from __future__ import annotations

import pytest

from benchmarks.memory.record_fields import flag_of, number_of, unreadable


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (4096, 4096), (4096.7, 4096), ("4096", 4096), ("2,048", 2048), ("7B", 7_000_000_000),
        ("1.5e9", 1_500_000_000), ("2k", 2000), ("512 tokens", 512), ("~350M", 350_000_000),
        (0, None), (-3, None), (True, None), (float("nan"), None), (float("inf"), None),
        ("four", None), ([4], None), (None, None), ("", None), ("7-8B", 7),
    ],
)  # fmt: skip
def test_numbers_are_read_however_they_are_written(value: object, number: int | None) -> None:
    assert number_of({"a": value}, "a") == number


def test_the_first_field_with_a_number_counts() -> None:
    assert number_of({"a": None, "b": "x", "c": 3, "d": 4}, "a", "b", "c", "d") == 3


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (True, True), (False, False), (1, True), (0, False), ("yes", True), ("False", False),
        ("unsloth", True), ("none", False), ("unknown", None), (None, None), ([], None),
    ],
)  # fmt: skip
def test_switches_are_read_however_they_are_written(value: object, flag: bool | None) -> None:
    assert flag_of({"a": value}, "a") is flag


@pytest.mark.parametrize(
    ("record", "problems"),
    [
        ({"n": "four"}, ["n is 'four', which is not a number"]),
        ({"n": -1}, ["n is -1, which is below zero"]),
        ({"n": {"a": 1}}, ["n is {'a': 1}, which is not a number"]),
        ({"n": True}, ["n is True, which is not a number"]),
        ({"f": [1]}, ["f is [1], which is neither true nor false"]),
        ({"n": 0, "f": "unsloth"}, []),
        ({"n": "unknown", "f": None}, []),
    ],
)
def test_what_cannot_be_read_is_said(record: dict[str, object], problems: list[str]) -> None:
    assert unreadable(record, ("n",), ("f",)) == problems


def test_long_values_are_shown_in_short() -> None:
    (problem,) = unreadable({"n": "x" * 100}, ("n",), ())
    assert len(problem) < 80
