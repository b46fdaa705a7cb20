"""When a trial ends early: by its task's loss, and by limits on measures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweeper.objective import Limit
from sweeper.training.loop.extension import ItemMeasure
from sweeper.training.trial.rungs import ItemCosts, Rise, RungScore, Stopping, broken_limit_reason
from sweeper.trials import Measure


def items(losses: list[float], weights: list[float] | None = None) -> ItemCosts:
    return ItemCosts(np.array(losses), np.array(weights or [1.0] * len(losses)))


def score(loss: float) -> RungScore:
    return RungScore(items([loss]))


# Twenty items, of which each score moves all by the same and some by chance.
CHANCE = np.linspace(-0.3, 0.3, 20)


def seen(level: float, train_loss: float | None, epochs: float, scatter: float = 0.1) -> RungScore:
    drawn = np.random.default_rng(round(level * 1000)).normal(0, scatter, 20)
    return RungScore(items(list(level + CHANCE + drawn - drawn.mean())), train_loss, epochs)


OVERFITS = [seen(0.7, 0.7, 0.5), seen(0.5, 0.6, 1.0), seen(0.6, 0.4, 1.5), seen(0.8, 0.3, 2.0)]


def stops_at(scores: list[RungScore], stopping: Stopping) -> int | None:
    said = [bool(stopping.reason_to_stop(one)) for one in scores]
    return said.index(True) if True in said else None


@pytest.mark.parametrize(
    ("losses", "expected"),
    [([3, 2, 1, 1.1, 1.2, 0.5], 4), ([3, 2, 2.1, 1.9, 2.0, 1.8], None), ([1, 1, 1], 2)],
)
def test_patience_counts_rungs_in_a_row_without_a_better_loss(
    losses: list[float], expected: int | None
) -> None:
    assert stops_at([score(loss) for loss in losses], Stopping(patience=2)) == expected


def test_without_patience_a_trial_never_stops() -> None:
    stopping = Stopping.of({})
    assert stops_at([*OVERFITS, score(3.0)], stopping) is None


def test_the_limit_is_passed_only_broken_limit_reason() -> None:
    limit = Limit("general", 0.02, "forgetting", 2, "")

    def why(name: str, mean: float, scatter: float) -> str:
        rises = mean + scatter * np.array([-1.0, 1.0] * 10)
        figure = Measure(title="lost", unit="nats/token", value=2.0 + mean, base=2.0)
        taken = ItemMeasure(figure, 2.0 + rises, np.full(20, 2.0), np.ones(20))
        return broken_limit_reason({name: taken}, [limit])

    assert why("general.text", 0.05, 0.2) == ""
    assert why("general.text", 0.05, 0.01).startswith("lost: 0.050 nats/token, beyond the limit")
    assert why("general.text", 0.01, 0.0) == ""
    assert why("other", 0.05, 0.01) == ""
    bare = Measure(title="seconds", unit="s", value=3.0)
    empty = np.empty(0)
    assert broken_limit_reason({"general": ItemMeasure(bare, empty, empty, empty)}, [limit])


def test_a_rise_is_paired_with_the_first_items_and_weighted_by_tokens() -> None:
    rise = Rise.of(items([2.0, 4.0], [1.0, 3.0]), items([1.0, 3.5, 9.0], [1.0, 3.0, 1.0]))
    assert rise.mean == pytest.approx((1.0 * 1 + 0.5 * 3) / 4)
    assert rise.low < rise.mean


def test_a_trial_that_overfits_stops_at_the_second_look_after_its_best_and_says_why() -> None:
    stopping = Stopping.of({}, overfitting=True)
    assert [stopping.reason_to_stop(one) for one in OVERFITS[:-1]] == [None, None, None]
    stop = stopping.reason_to_stop(OVERFITS[-1])
    assert stop is not None
    assert stop.kind == "overfitting"
    assert "rose from 0.5 to 0.8, beyond noise" in stop.text
    assert stop.text.endswith("training loss fell to 0.3")


@pytest.mark.parametrize(
    "changed",
    [
        {"epochs": 1.0},  # no row was seen twice
        {"train_loss": 0.6},  # nothing is learnt by heart
        {"train_loss": None},
        {"items": seen(0.52, 0.3, 2.0, scatter=0.3).items},  # chance of the items
    ],
)
def test_what_may_be_no_overfitting_goes_on(changed: dict[str, Any]) -> None:
    last = replace(OVERFITS[-1], **changed)
    assert stops_at([*OVERFITS[:-1], last], Stopping(overfitting=True)) is None
