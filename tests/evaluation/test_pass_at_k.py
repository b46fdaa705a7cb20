from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.evaluation.pass_at_k import code_of, pass_at_k


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.data())
def test_it_is_the_share_of_draws_with_a_right_answer(
    passed: list[bool], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(passed)))
    draws = list(combinations(passed, k))

    assert pass_at_k([passed], k) == pytest.approx(sum(map(any, draws)) / len(draws))


def test_problems_count_alike() -> None:
    assert pass_at_k([[True, True], [False, False], [True, False]], 1) == pytest.approx(0.5)


@pytest.mark.parametrize("k", [0, 3])
def test_more_tries_than_answers_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="1 <= k <= answers"):
        pass_at_k([[True, False]], k)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("def f(): pass", "def f(): pass"),
        ("Here:\n```python\ndef f(): pass\n```\nand\n```\nx\n```", "def f(): pass\n"),
        ("```\ndef f(): pass\n```", "def f(): pass\n"),
        ("```py\ndef f(): pass", "def f(): pass"),
    ],
)
def test_code_is_taken_out_of_its_fence(answer: str, code: str) -> None:
    assert code_of(answer) == code
