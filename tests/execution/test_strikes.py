from __future__ import annotations

import pytest

from sweeper.execution.events import Event
from sweeper.execution.strikes import Strikes


def event(kind: str) -> Event:
    return Event.model_validate({"kind": kind, "at": "t"})


@pytest.mark.parametrize(
    ("life", "ends"), [((), 3), (("trial-started",), 9), (("worker-started",), 3)]
)
def test_workers_that_end_in_vain_are_given_up(life: tuple[str, ...], ends: int) -> None:
    strikes = Strikes()
    for end in range(1, ends + 1):
        for kind in life:
            strikes.hear("0", event(kind))
        strikes.ended("0", asked=False)
        assert strikes.out() == (end == ends)


@pytest.mark.parametrize("kind", ["rung", "trial-ended", "job-ended", "baseline"])
def test_one_that_got_something_done_starts_the_count_again(kind: str) -> None:
    strikes = Strikes(count=8)
    strikes.hear("0", event(kind))
    strikes.ended("0", asked=False)
    assert strikes.count == 0
    strikes.ended("0", asked=False)
    assert strikes.count == 3
    strikes.ended("1", asked=True)
    assert strikes.count == 0
