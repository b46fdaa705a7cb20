from __future__ import annotations

import pytest

from sweeper.search.study_end import GAINS, SEED_SHARE, WORTH_SHARE, outlook, settled


def test_the_next_five_trials_are_told_by_what_recorded_searches_gained() -> None:
    found = outlook([1.0] * 8 + [None, 0.9, 0.95], [9.0] * 4 + [20.0] * 10, workers=2)
    assert found is not None
    assert found.gain == pytest.approx(GAINS[10] * 0.9)
    assert found.seconds == pytest.approx(50.0)
    assert found.noise == pytest.approx(2**0.5 * SEED_SHARE * 0.9)
    assert str(found) == (
        "5 more trials: about 50 s; expected to lower the best loss by 0.0035 (0.05 times the "
        "typical difference between two seeds)"
    )


@pytest.mark.parametrize(
    "losses",
    [[1.0] * (min(GAINS) - 1), [None] * 20],
    ids=["few trials", "none that completed"],
)
def test_nothing_is_said_where_nothing_is_known(losses: list[float | None]) -> None:
    assert outlook(losses, [1.0], 1) is None
    assert settled(losses) == ""


def test_a_search_has_settled_once_five_more_trials_gain_far_less_than_chance() -> None:
    counts = range(1, 40)
    ended = [count for count in counts if settled([0.5] * count)]
    worth = max(count for count, gain in GAINS.items() if gain >= WORTH_SHARE * 2**0.5 * SEED_SHARE)
    assert ended == [count for count in counts if count >= min(n for n in GAINS if n > worth)]
    assert settled([0.5] * 10).startswith("5 more trials are expected to lower the best loss by")
