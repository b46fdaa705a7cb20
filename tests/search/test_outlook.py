from __future__ import annotations

import pytest

from sweeper.search.outlook import FEWEST_TRIALS, SEED_SHARE, outlook


def test_the_last_five_trials_say_what_the_next_five_may_bring() -> None:
    found = outlook([1.0] * 8 + [None, 0.9, 0.95], [9.0] * 4 + [20.0] * 10, workers=2)
    assert found is not None
    assert found.gain == pytest.approx(0.1)
    assert found.seconds == pytest.approx(50.0)
    assert found.noise == pytest.approx(2**0.5 * SEED_SHARE * 0.9)
    assert str(found) == (
        "5 more trials: about 50 s; the last 5 lowered the best loss by 0.10, about 1 of the "
        "difference between two seeds"
    )


def test_trials_that_brought_nothing_are_said_to() -> None:
    found = outlook([0.5, *[0.6] * 11], [60.0], workers=8)
    assert found is not None
    assert str(found) == "5 more trials: about 60 s; the last 5 did not lower the best loss"


@pytest.mark.parametrize(
    "losses",
    [[1.0] * (FEWEST_TRIALS - 1), [None] * 20, [None] * 15 + [0.5] * 5],
    ids=["few trials", "none that completed", "none before the last five"],
)
def test_nothing_is_said_where_nothing_is_known(losses: list[float | None]) -> None:
    assert outlook(losses, [1.0], 1) is None
