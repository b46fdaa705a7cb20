"""General data: what is held back is never replayed, and never quotes the task's held-out rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.data.examples import SPLITS, Dataset, Example, Message, digest, input_key
from sweeper.errors import DataError
from sweeper.features.forgetting._general_data import HELD_BACK_TEXTS, divided, general_text
from sweeper.spec import ModelSpec, Spec

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


def text(words: str, line: int = 1) -> Example:
    return Example(key=input_key(words), line=line, text=words)


def dataset(**splits: tuple[Example, ...]) -> Dataset:
    return Dataset(
        path="task.jsonl",
        format="text",
        evidence=(),
        columns={},
        splits={split: splits.get(split, (text(f"{split} row"),)) for split in SPLITS},
        origins=dict.fromkeys(SPLITS, "official"),
        labels=(),
        fingerprint="f",
    )


@given(st.lists(st.text("abc ", min_size=1, max_size=8), min_size=1, max_size=60), st.integers())
def test_the_two_parts_never_share_a_text_or_a_question(texts: list[str], seed: int) -> None:
    examples = {e.content_hash(): e for e in map(text, texts)}.values()
    found = divided(examples, seed, 1000)
    held = {example.key for example in found.held_back}
    assert not held & {example.key for example in found.replay}
    assert 1 <= len(found.held_back) <= HELD_BACK_TEXTS


def test_the_parts_do_not_depend_on_the_order_of_the_file() -> None:
    rows = [text(f"text number {n}", n) for n in range(200)]
    one, other = divided(rows, 0, 1000), divided(rows[::-1], 0, 1000)
    assert one == other
    assert len(one.held_back) == HELD_BACK_TEXTS
    assert len(one.replay) == 200 - HELD_BACK_TEXTS


def test_answers_to_one_question_stay_together() -> None:
    rows = [
        Example(
            input_key("why"), n, messages=(Message("user", "why"), Message("assistant", str(n)))
        )
        for n in range(20)
    ]
    found = divided([*rows, text("another")], 0, 1000)
    assert len(found.held_back) == 1
    assert {e.key for e in found.replay}.isdisjoint({e.key for e in found.held_back})


def test_a_text_that_quotes_a_held_back_one_is_not_replayed() -> None:
    held = divided([text(LONG), text("short")], 0, 10).held_back[0]
    quoting = text(f"so they said: {LONG} and left")
    plain = [text(f"plain {n}") for n in range(3)]
    for rows in ([text(LONG), quoting, *plain],):
        found = divided(rows, next(s for s in range(99) if _first(rows, s) == rows[0]), 10)
        assert found.held_back == (rows[0],)
        assert quoting not in found.replay
    assert held


def _first(rows: list[Example], seed: int) -> Example:
    return min(rows, key=lambda e: digest(f"{seed}:{e.key}"))


def test_no_more_is_kept_than_is_asked_for() -> None:
    assert len(divided([text(f"row {n}") for n in range(100)], 0, 7).replay) == 7


def request(file: Path) -> Spec:
    features = {"forgetting": {"general": str(file)}}
    return Spec(task="domain", models=(ModelSpec(id="m"),), features=features)


def test_rows_of_the_tasks_validation_and_test_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "general.jsonl"
    rows = ["a test row", *(f"general text {n}" for n in range(9))]
    file.write_text("\n".join(f'{{"text": "{row}"}}' for row in rows))
    found = general_text(request(file), dataset(test=(text("A test  row"),)))
    texts = {e.text for e in (*found.replay, *found.held_back)}
    assert texts == set(rows[1:])
    assert found.leaked == 1


def test_too_little_is_refused_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "general.jsonl"
    file.write_text('{"text": "only one"}\n')
    with pytest.raises(DataError) as refused:
        general_text(request(file), dataset())
    assert str(file) in str(refused.value)
