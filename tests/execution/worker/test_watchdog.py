from __future__ import annotations

import threading

import pytest
from configs import config_of
from curve_backend import make_plan

from sweeper.execution.worker.session import (
    HANG_SECONDS,
    ProgressCounter,
    TimeLimits,
    Watchdog,
    time_limits_for,
    time_limits_without_steps,
)
from sweeper.plans import Duration


def test_training_that_stands_still_is_ended_with_the_reason() -> None:
    heard = threading.Event()
    said: list[str] = []

    def on_hang(why: str) -> None:
        said.append(why)
        heard.set()

    pulse = ProgressCounter()
    with Watchdog(pulse, TimeLimits(setup=0.2, step=9.0), on_hang):
        assert heard.wait(300)
    assert "did not begin" in said[0]


class Moments(threading.Event):
    """Looks of a watchdog: at each, the clock has gone on, and there may have been a beat."""

    def __init__(self, pulse: ProgressCounter, beats: list[bool]) -> None:
        super().__init__()
        self.now, self._pulse, self._beats = 0.0, pulse, beats
        self.stopped_for = 0.0

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now += timeout + self.stopped_for
        if self._beats.pop(0):
            self._pulse.count()
        return not self._beats


def watched(beats: list[bool], stopped_for: float = 0.0) -> list[str]:
    """What a watchdog says in so many looks."""
    pulse, said = ProgressCounter(), []
    moments = Moments(pulse, beats)
    moments.stopped_for = stopped_for
    dog = Watchdog(pulse, TimeLimits(1.0, 1.0), said.append, clock=lambda: moments.now)
    dog._ended = moments
    dog._watch()
    return said


def test_training_that_goes_on_is_left_alone() -> None:
    assert watched([False, True] * 50) == []


def test_a_process_that_was_stopped_for_long_is_not_taken_for_one_that_hangs() -> None:
    assert watched([False] * 4, stopped_for=1000.0) == []
    assert watched([False] * 9, stopped_for=1000.0)


@pytest.mark.parametrize(("waits", "hangs"), [(9, False), (12, True)])
def test_a_step_may_take_ten_times_as_long_as_the_slowest_so_far(waits: int, hangs: bool) -> None:
    # The slowest step takes a second, in ten looks. Later ones come a second apart.
    beats = [True, *[False] * 9, True, *[False] * waits, True]
    assert bool(watched(beats)) is hangs


def test_patience_follows_the_prediction_above_a_floor() -> None:
    plan = make_plan()
    candidate = plan.candidate("lora")
    config = config_of(plan, candidate, candidate.defaults(), number=0, attempt=1, origin="search")
    assert time_limits_for(plan, config) == TimeLimits(setup=3 * HANG_SECONDS, step=HANG_SECONDS)
    slow = candidate.duration.model_copy(update={"high": 400_000.0})
    longer = plan.model_copy(
        update={"candidates": (candidate.model_copy(update={"duration": slow}),)}
    )
    assert time_limits_for(longer, config) == TimeLimits(setup=400_000.0, step=10 * 1000.0)
    half = config.budget.model_copy(update={"epochs": config.budget.epochs / 2, "rungs": 4})
    shorter = config.model_copy(update={"budget": half})
    assert time_limits_for(longer, shorter) == TimeLimits(setup=200_000.0, step=10 * 1000.0)


def test_patience_with_baselines_and_scores_follows_what_the_plan_says_of_all_of_them() -> None:
    plan = make_plan()
    floor = 3 * HANG_SECONDS
    assert time_limits_without_steps(plan) == TimeLimits(setup=floor, step=floor)
    phases = {"baselines": Duration(seconds=400.0, low=300.0, high=500.0)}
    longer = plan.model_copy(update={"budget": plan.budget.model_copy(update={"phases": phases})})
    assert time_limits_without_steps(longer) == TimeLimits(setup=5000.0, step=5000.0)
