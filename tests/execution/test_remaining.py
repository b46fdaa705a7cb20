from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweeper.execution.run_progress import RunProgress, TrialTime, decide_phase, time_of
from sweeper.plans import Budget, Duration, PhaseCost
from sweeper.runfolder import RunFolder

JOBS_LEFT = {"confirmation": 3, "test": 5, "extra": 9}
JOBS = {"test": 10, "extra": 18}
TRIALS = {
    "lora": Duration(seconds=10, low=5, high=20),
    "full": Duration(seconds=20, low=9, high=40),
}
TIME = Duration(seconds=30, low=20, high=40)
PLAN: Any = SimpleNamespace(
    candidate=lambda strategy, model: SimpleNamespace(duration=TRIALS[strategy]),
    budget=Budget(
        trials=9,
        epochs=4.0,
        full_tokens=1000,
        phases={"baselines": TIME, "search": TIME, "confirmation": TIME, "test": TIME},
        sweep=TIME,
        features={
            "extra": PhaseCost(title="x", seconds=36),
            "last": PhaseCost(title="y", seconds=12),
        },
        finalists=3,
        confirmation_seeds=3,
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


def seen(*trials: tuple[str, Any]) -> list[TrialTime]:
    each = (time_of(PLAN, config(strategy), result) for strategy, result in trials)
    return [one for one in each if one is not None]


def left(
    trials: list[TrialTime], phase: str, number: float = 0.0, jobs: int = 0, workers: int = 1
) -> Any:
    state: Any = SimpleNamespace(plan=PLAN, run=RunFolder(Path("nowhere")))
    progress = RunProgress(state, 9, workers, phase=phase, jobs=jobs)
    progress._times, progress._confirmation_seconds = dict(enumerate(trials)), 8
    progress._phase_jobs = JOBS.get(phase, 0)
    return progress.eta(number)


def middle(eta: Any) -> float:
    return float(eta.low + eta.high) / 2


def test_nothing_is_said_before_two_trials_have_ended() -> None:
    assert left(seen(("lora", ended(12))), "search", 4) is None
    assert seen(("lora", ended(3, steps=0)), ("lora", ended(12, state="FAIL"))) == []


@pytest.mark.parametrize(
    ("strategy", "result"),
    [
        ("lora", ended(15)),
        ("full", ended(15, rung=4, state="PRUNED")),
        ("lora/2", ended(7.5)),
        ("full", ended(15, stopped=4)),
    ],
)
def test_a_trial_is_compared_with_the_plan_for_as_much_of_its_budget(
    strategy: str, result: Any
) -> None:
    (trial,) = seen((strategy, result))
    assert trial.factor == pytest.approx(1.5)


def test_what_is_left_of_each_phase_is_counted() -> None:
    trials = seen(("lora", ended(20)), ("full", ended(40)))
    after = 2 * (30 + 36 + 12)
    assert middle(left(trials, "search", 4)) == pytest.approx(4 * 30 + 6 * 8 + after)
    assert middle(left(trials, "search", 4, workers=2)) == pytest.approx(84 + after)
    middles = {name: middle(left(trials, name, jobs=jobs)) for name, jobs in JOBS_LEFT.items()}
    assert middles == pytest.approx(
        {"confirmation": 3 * 8 + after, "test": 2 * (15 + 36 + 12), "extra": 2 * (18 + 12)}
    )
    assert left(trials, "complete") is None


def test_unequal_trials_widen_the_range_and_more_of_them_narrow_it() -> None:
    def width(*seconds: float) -> float:
        eta = left(seen(*(("lora", ended(one)) for one in seconds)), "search", 4)
        return float(eta.high - eta.low) / middle(eta)

    assert width(10, 10, 10, 10) == pytest.approx(0.6), "0.3 on each side, at least"
    assert width(5, 20, 10, 8) > width(*(5, 20, 10, 8) * 2) > 0.6
    assert left(seen(("lora", ended(1)), ("lora", ended(60))), "search", 4).low == 0


def test_defaults_which_are_never_pruned_say_little_of_trials_that_may_be() -> None:
    pruned = ("lora", ended(3, rung=2, state="PRUNED"))
    trials = seen(("+lora", ended(12)), ("+full", ended(24)), pruned, pruned)
    without = middle(left(trials, "search", 0))
    assert middle(left(trials, "search", 4)) - without == pytest.approx(4 * 3)
    early = seen(("+lora", ended(12)), ("+full", ended(14)), ("lora", ended(13)))
    without = middle(left(early, "search", 0))
    assert middle(left(early, "search", 4)) - without == pytest.approx(4 * 13)


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
    planned = budget.pop("planned", False)
    cost = PhaseCost(title="extra", seconds=10, optional=True, planned=planned)
    known: Any = SimpleNamespace(**({"limit_seconds": None, "features": {"extra": cost}} | budget))
    decided = decide_phase(known, "extra", 20.0, left)
    assert decided.made is made
    assert why in decided.text
