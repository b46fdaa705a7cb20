"""Objectives that users write: called apart, and refused with name, file and line."""

from pathlib import Path

import pytest

from sweeper.data.examples import Example
from sweeper.errors import SpecError
from sweeper.metrics import user_function
from sweeper.objective import Objective

EXAMPLES = [
    Example(key=str(place), line=place + 1, text=f"text {place}", label="ab"[place % 2])
    for place in range(6)
]


def objective(folder: Path, code: str) -> Objective:
    (folder / "mine.py").write_text(code)
    return Objective(
        name="mine:score",
        title="score",
        metric="mine:score",
        higher_is_better=True,
        computed_from="classes",
        function=True,
        folder=str(folder),
    )


def test_a_number_gets_item_values_that_average_to_it(tmp_path):
    code = """
print("this is not the answer")
def score(predictions, references, rows):
    assert [row["text"] for row in rows][:1] != ["nothing"]
    return sum(p == r for p, r in zip(predictions, references)) / len(references)
"""
    said = ["a", "b", "a", "b", "b", "a"]
    value, items = user_function.measure(objective(tmp_path, code), said, EXAMPLES)
    assert value == pytest.approx(4 / 6)
    # Of a mean, the jackknife gives the items' own values back.
    assert items == pytest.approx([1, 1, 1, 1, 0, 0])


def test_a_list_is_taken_as_it_is_and_called_once(tmp_path):
    code = """
calls = []
def score(predictions, references, rows):
    calls.append(1)
    return [len(calls) * float(p == r) for p, r in zip(predictions, references)]
"""
    value, items = user_function.measure(objective(tmp_path, code), ["a"] * 6, EXAMPLES)
    assert (value, items) == (0.5, [1, 0, 1, 0, 1, 0])


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def score(p, r, rows):\n    return 1 / 0", r"ZeroDivisionError: .*mine\.py:2 in score\)"),
        ("def score(p, r, rows):\n    return float('nan')", r"returned nan .*mine\.py:1\)"),
        ("def score(p, r, rows):\n    return 'high'", r"returned 'high', which is not a number"),
        ("def score(p, r, rows):\n    return [1.0]", r"1 numbers for 6 items"),
        ("def other(p, r, rows):\n    return 1.0", r"mine has no function 'score' .*mine\.py"),
        ("def score(p, r, rows:\n    return 1.0", r"SyntaxError: .*mine\.py:1\)"),
        (
            "import sys\ndef score(p, r, rows):\n    sys.exit('no')",
            r"SystemExit: no .*mine\.py:3 in score\)",
        ),
        ("import nothing_like_this", r"ModuleNotFoundError: .*mine\.py:1\)"),
    ],
)
def test_what_is_wrong_is_told_with_name_file_and_line(tmp_path, code, told):
    with pytest.raises(SpecError, match=rf"the objective mine:score: .*{told}"):
        user_function.measure(objective(tmp_path, code), ["a"] * 6, EXAMPLES)


def test_one_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(user_function, "TIMEOUT_SECONDS", 1.0)
    code = "import time\ndef score(p, r, rows):\n    time.sleep(60)"
    with pytest.raises(SpecError, match=r"mine:score.* 1 s"):
        user_function.check(objective(tmp_path, code), EXAMPLES)
