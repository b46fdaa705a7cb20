from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.execution.run_progress import fits, pace, remaining
from sweeper.plans import Duration, PhaseCost

JOBS_LEFT = {"confirmation": 3, "test": 5, "extra": 9}
JOBS = {"test": 10, "extra": 18}
PLAN: Any = SimpleNamespace(
    candidates=(
        SimpleNamespace(strategy="lora", model="m", duration=Duration(seconds=10, low=5, high=20)),
        SimpleNamespace(strategy="full", model="m", duration=Duration(seconds=20, low=9, high=40)),
    ),
    budget=SimpleNamespace(
        beside=Duration(seconds=9, low=6, high=12),
        test=Duration(seconds=30, low=20, high=40),
        features={
            "extra": PhaseCost(title="x", duration=Duration(seconds=36, low=18, high=54)),
            "last": PhaseCost(title="y", duration=Duration(seconds=12, low=6, high=18)),
        },
        confirmation=Duration(seconds=60, low=30, high=90),
        finalists=3,
        confirmation_seeds=3,
        epochs=4.0,
    ),
)


def ended(
    seconds: float,
    rung: int | None = None,
    steps: int = 80,
    state: str = "COMPLETE",
    stopped: int | None = None,
) -> Any:
    return SimpleNamespace(
        state=state,
        optimizer_steps=steps,
        training_seconds=seconds * 0.9,
        evaluation_seconds=seconds * 0.1,
        setup_seconds=0.0,
        pruned_at_rung=rung,
        stopped_at_rung=stopped,
    )


def config(strategy: str) -> Any:
    """Of a full trial, or of ``lora/2``, which has half of the epochs; ``+lora`` is a default."""
    origin = "default" if strategy.startswith("+") else "search"
    strategy = strategy.removeprefix("+")
    name, _, part = strategy.partition("/")
    share = 1 / int(part or 1)
    budget = SimpleNamespace(rungs=round(8 * share), epochs=4.0 * share)
    return SimpleNamespace(strategy=name, model="m", budget=budget, origin=origin)


def seen(*trials: tuple[str, Any]) -> Any:
    results = {number: result for number, (_, result) in enumerate(trials)}
    return pace(PLAN, results, {n: config(strategy) for n, (strategy, _) in enumerate(trials)})


def test_nothing_is_said_before_two_trials_have_ended() -> None:
    assert seen(("lora", ended(12))) is None
    assert seen(("lora", ended(12)), ("lora", ended(3, steps=0))) is None
    assert seen(("lora", ended(12)), ("lora", ended(12, state="FAIL"))) is None


def test_a_trial_is_held_against_the_plan_for_as_much_of_its_budget() -> None:
    found = seen(("lora", ended(15)), ("full", ended(15, rung=4, state="PRUNED")))
    assert found is not None
    assert found.factor == pytest.approx(1.5)
    assert found.error == pytest.approx(0.0)
    assert found.trial == pytest.approx(15.0)


def test_a_shorter_trial_and_one_that_overfitted_are_held_against_their_part() -> None:
    found = seen(("lora/2", ended(7.5)), ("full", ended(15, stopped=4)))
    assert found is not None
    assert found.factor == pytest.approx(1.5)
    assert found.error == pytest.approx(0.0)


def test_what_is_left_of_each_phase_is_counted() -> None:
    found = seen(("lora", ended(20)), ("full", ended(40)))
    assert found is not None

    def left(phase: Any, trials: float = 0.0, jobs: int = 0, workers: int = 1) -> Any:
        return remaining(
            PLAN, found, phase=phase, trials_left=trials, jobs_left=jobs, jobs=JOBS.get(phase, 0),
            workers=workers, again=8,
        )  # fmt: skip

    search = left("search", trials=4)
    middle = 4 * 30 + 6 * 8 + 2 * (30 + 36 + 12)
    assert search.low < middle < search.high
    assert left("search", trials=4, workers=2).high < search.high
    found = {name: left(name, jobs=jobs) for name, jobs in JOBS_LEFT.items()}
    middles = {name: math.sqrt(eta.low * eta.high) for name, eta in found.items()}
    assert middles == pytest.approx(
        {
            "confirmation": 3 * 8 + 2 * (30 + 36 + 12),
            "test": 2 * (15 + 36 + 12),
            "extra": 2 * (18 + 12),
        }
    )
    assert left("complete") is None


def test_unequal_trials_widen_the_range() -> None:
    even = seen(*[("lora", ended(10))] * 4)
    uneven = seen(("lora", ended(5)), ("lora", ended(20)), ("lora", ended(10)), ("lora", ended(8)))
    assert even is not None
    assert uneven is not None
    assert math.isclose(even.error, 0.0)
    assert uneven.error > even.error
    assert uneven.spread > even.spread


def test_defaults_which_are_never_pruned_say_little_of_trials_that_may_be() -> None:
    pruned = ("lora", ended(3, rung=2, state="PRUNED"))
    found = seen(("+lora", ended(12)), ("+full", ended(24)), pruned, pruned)
    assert (found.trial, found.trials) == (pytest.approx(3.0), 2)
    early = seen(("+lora", ended(12)), ("+full", ended(24)), pruned)
    assert (early.trial, early.trials) == (pytest.approx(13.0), 3)


def test_finalists_may_yet_be_trials_that_end_earlier() -> None:
    # Two long defaults are the best so far; each trial that has been searched took 3 s.
    short = ("lora/4", ended(3))
    uneven = seen(("+lora", ended(12)), ("+full", ended(24)), short, short)

    def ends(pace: Any, left: int) -> tuple[float, float]:
        eta = remaining(
            PLAN, pace, phase="search", trials_left=left, jobs_left=0, jobs=0, workers=1, again=18
        )
        assert eta is not None
        return eta.low, eta.high

    def wider(left: int) -> tuple[float, float]:
        even = replace(uneven, apart=0.0)
        (low, high), (least, most) = ends(even, left), ends(uneven, left)
        return low - least, most - high

    assert min(wider(left=6)) > min(wider(left=1)) > 0
    assert wider(left=6)[0] > 6 * 18 / 4


@pytest.mark.parametrize(
    ("budget", "left", "made", "why"),
    [
        ({"limit_seconds": 90.0}, {"of the budget": 21.0}, True, "21 s were left of the budget"),
        ({"limit_seconds": 90.0}, {"of the budget": 19.0}, False, "it takes up to 20 s"),
        ({"limit_seconds": 90.0}, {"a": 50.0, "until the time limit": -1.0}, False, "0.0 s were"),
        (
            {"planned": True},
            {"until the time limit": math.inf},
            True,
            "cheap compared with the search",
        ),
        ({"planned": True}, {"until the time limit": 1.0}, False, "were left until the time"),
        ({}, {"until the time limit": math.inf}, False, "not cheap compared with the search"),
    ],
)
def test_an_optional_phase_is_made_while_time_is_left(budget, left, made, why) -> None:
    duration = Duration(seconds=10, low=5, high=20)
    planned = budget.pop("planned", False)
    cost = PhaseCost(title="extra", duration=duration, optional=True, planned=planned)
    known: Any = SimpleNamespace(**({"limit_seconds": None, "features": {"extra": cost}} | budget))
    decided = fits(known, "extra", 20.0, left)
    assert decided.made is made
    assert why in decided.text
