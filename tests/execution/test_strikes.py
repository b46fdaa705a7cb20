from __future__ import annotations

import pytest

from sweeper.execution.strikes import STRIKES_ALLOWED, Strikes


@pytest.mark.parametrize(("busy", "ends"), [(False, 3), (True, 9)])
def test_workers_that_end_in_vain_are_given_up(busy: bool, ends: int) -> None:
    strikes = Strikes()
    for end in range(1, ends + 1):
        if busy:
            strikes.got_job("0")
        strikes.ended("0", excused=False)
        assert strikes.out() == (end == ends)


def test_one_that_got_something_done_starts_the_count_again() -> None:
    strikes = Strikes(count=8)
    strikes.got_on("0")
    strikes.ended("0", excused=False)
    assert strikes.count == 0
    strikes.ended("0", excused=False)  # the next one of that name did not
    assert strikes.count == 3
    strikes.ended("1", excused=True)
    assert strikes.count == 0


def test_workers_killed_for_memory_are_no_strikes_once_they_had_a_job() -> None:
    busy, idle = Strikes(), Strikes()
    for _ in range(STRIKES_ALLOWED):
        busy.got_job("0")
        busy.ended("0", excused=False, starved=True)
        idle.ended("0", excused=False, starved=True)
    assert not busy.out()
    assert idle.out()
