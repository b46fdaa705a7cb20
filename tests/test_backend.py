"""Long work tells how far it is, seldom enough, and ends when it is told to."""

from __future__ import annotations

import pytest

from sweeper.backend import Interrupted, ProgressReporter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_piece_of_work_tells_at_once_and_then_twice_a_second() -> None:
    told: list[tuple[str, int, int]] = []
    clock = Clock()
    on_progress = ProgressReporter(lambda *message: told.append(message), clock)
    for step in range(40):
        clock.now = step / 10
        on_progress("scoring", step, 40)
    assert told == [("scoring", step, 40) for step in range(0, 40, 5)]
    on_progress("fitting", 0, 6)
    assert told[-1] == ("fitting", 0, 6)


def test_a_title_stands_before_the_work() -> None:
    told: list[str] = []
    on_progress = ProgressReporter(lambda what, _done, _of: told.append(what))
    on_progress.title = "frozen probe"
    on_progress.steps("computing features")(0, 3)
    on_progress.title = ""
    on_progress.steps("computing features")(1, 3)
    assert told == ["frozen probe: computing features", "computing features"]


def test_it_ends_work_that_is_to_stop_whether_it_is_told_of_or_not() -> None:
    on_progress = ProgressReporter()
    on_progress("scoring", 0, 2)
    on_progress.should_stop = lambda: True
    with pytest.raises(Interrupted):
        on_progress("scoring", 1, 2)
