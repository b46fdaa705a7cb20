from __future__ import annotations

import pytest

from sweeper.execution.worker_states import STRIKES_ALLOWED, WorkerStates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("worked", "ends"), [(False, 3), (True, 9)])
def test_workers_that_end_in_vain_are_given_up(worked: bool, ends: int) -> None:
    workers = WorkerStates()
    for end in range(1, ends + 1):
        workers["0"].had_job = worked
        workers.ended("0", excused=False)
        assert (workers.strikes >= STRIKES_ALLOWED) == (end == ends)


def test_a_productive_worker_starts_the_count_again() -> None:
    workers = WorkerStates(strikes=8)
    workers["0"].productive = True
    workers.ended("0", excused=False)
    assert workers.strikes == 0
    workers.ended("0", excused=False)  # the next one of that name did not
    assert workers.strikes == 3
    workers.ended("1", excused=True)
    assert workers.strikes == 0


def test_workers_killed_for_memory_are_no_strikes_once_they_had_a_job() -> None:
    busy, idle = WorkerStates(), WorkerStates()
    for _ in range(STRIKES_ALLOWED):
        busy["0"].had_job = True
        busy.ended("0", excused=False, out_of_memory=True)
        idle.ended("0", excused=False, out_of_memory=True)
    assert busy.strikes < STRIKES_ALLOWED <= idle.strikes


def test_a_worker_is_silent_for_too_long_when_nothing_came_from_it_for_that_long() -> None:
    clock = Clock()
    workers = WorkerStates(silence_limit=10.0, clock=clock)
    assert workers.too_silent(["0", "1"]) == []
    for _ in range(5):
        clock.now += 2.0
        assert workers.too_silent(["0", "1"]) == []
    workers["1"].silent_seconds = 0.0
    clock.now += 1.0
    assert workers.too_silent(["0", "1"]) == ["0"]


def test_time_in_which_the_command_itself_did_not_look_counts_little() -> None:
    clock = Clock()
    workers = WorkerStates(silence_limit=10.0, clock=clock)
    workers.too_silent(["0"])
    clock.now += 100_000.0  # the machine slept
    assert workers.too_silent(["0"]) == []


def test_a_new_worker_of_an_old_name_begins_anew() -> None:
    clock = Clock()
    workers = WorkerStates(silence_limit=5.0, clock=clock)
    for _ in range(3):
        workers.too_silent(["0"])
        clock.now += 2.0
    workers.ended("0", excused=False)
    clock.now += 2.0
    assert workers.too_silent(["0"]) == []
    clock.now += 2.0
    assert workers.too_silent(["0"]) == []
