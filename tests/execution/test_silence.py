from __future__ import annotations

from sweeper.execution.strikes import Silence


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_is_silent_for_too_long_when_nothing_came_from_it_for_that_long() -> None:
    clock = Clock()
    silence = Silence(limit=10.0, clock=clock)
    assert silence.look(["0", "1"]) == []
    for _ in range(5):
        clock.now += 2.0
        assert silence.look(["0", "1"]) == []
    silence.heard("1")
    clock.now += 1.0
    assert silence.look(["0", "1"]) == ["0"]


def test_time_in_which_the_command_itself_did_not_look_counts_little() -> None:
    clock = Clock()
    silence = Silence(limit=10.0, clock=clock)
    silence.look(["0"])
    clock.now += 100_000.0  # the machine slept
    assert silence.look(["0"]) == []


def test_a_new_worker_of_an_old_name_begins_anew() -> None:
    clock = Clock()
    silence = Silence(limit=5.0, clock=clock)
    for _ in range(3):
        silence.look(["0"])
        clock.now += 2.0
    silence.look([])
    clock.now += 2.0
    assert silence.look(["0"]) == []
    clock.now += 2.0
    assert silence.look(["0"]) == []
