"""When a trial ends early: by its task's loss, and by the loss on general text."""

from __future__ import annotations

import numpy as np
import pytest

from sweeper.tasks.base import Evaluation
from sweeper.training.stopping import Lost, Stopping


def scored(losses: list[float], weights: list[float] | None = None) -> Evaluation:
    values = np.array(losses)
    return Evaluation(values, np.array(weights or [1.0] * len(losses)), values, {})


@pytest.mark.parametrize(
    ("losses", "stops_at"),
    [([3, 2, 1, 1.1, 1.2, 0.5], 4), ([3, 2, 2.1, 1.9, 2.0, 1.8], None), ([1, 1, 1], 2)],
)
def test_patience_counts_rungs_in_a_row_without_a_better_loss(
    losses: list[float], stops_at: int | None
) -> None:
    stopping = Stopping(patience=2)
    said = [bool(stopping.saw(loss, None)) for loss in losses]
    assert (said.index(True) if True in said else None) == stops_at


def test_without_patience_or_limit_a_trial_never_stops() -> None:
    stopping = Stopping.of({})
    assert not any(stopping.saw(loss, Lost(9.0, 0.0)) for loss in (1.0, 2.0, 3.0))


def test_the_limit_is_passed_only_beyond_noise() -> None:
    stopping = Stopping.of({"general_loss_limit": 0.02})
    assert stopping.saw(1.0, Lost(0.05, 0.03)) == ""
    assert "rose by 0.050" in stopping.saw(1.0, Lost(0.05, 0.01))
    assert stopping.saw(1.0, Lost(0.01, 0.0)) == ""


def test_what_was_lost_is_paired_with_the_first_items_and_weighted_by_tokens() -> None:
    lost = Lost.of(scored([2.0, 4.0], [1.0, 3.0]), scored([1.0, 3.5, 9.0], [1.0, 3.0, 1.0]))
    assert lost.mean == pytest.approx((1.0 * 1 + 0.5 * 3) / 4)
    assert lost.error > 0
