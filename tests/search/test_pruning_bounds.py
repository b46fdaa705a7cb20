from __future__ import annotations

from benchmarks.search.pruning import enveloped, foreseen
from sweeper.search.engine import Rung, Tried


def tried(number: int, loss: float | None, seconds: tuple[float, ...]) -> Tried:
    rungs = tuple(Rung(rung, 1.0, seconds=at) for rung, at in zip((2, 4, 8), seconds, strict=False))
    state = "FAIL" if loss is None else "COMPLETE"
    return Tried(number, "lora", {}, state, rungs, loss, seconds[-1])


def test_only_searched_trials_that_will_not_lead_are_stopped_at_the_first_rung() -> None:
    trials = [
        tried(0, 0.5, (2.0, 4.0, 8.0)),
        tried(1, 0.6, (3.0, 6.0, 12.0)),  # a default that does not lead
        tried(2, 0.4, (2.0, 4.0, 8.0)),
        tried(3, 0.45, (5.0, 10.0, 20.0)),
        tried(4, None, (1.0, 2.0)),
    ]
    assert foreseen(trials, 2, 2) == 8.0 + 12.0 + 8.0 + 5.0 + 1.0
    assert foreseen(trials, 2, 4) == 8.0 + 12.0 + 8.0 + 10.0 + 2.0


def test_a_trial_without_an_early_rung_counts_in_full() -> None:
    head = Tried(1, "head", {}, "COMPLETE", (Rung(8, 0.6, seconds=3.0),), 0.6, 3.0)
    assert foreseen([tried(0, 0.5, (2.0, 4.0, 8.0)), head], 1, 2) == 11.0


def test_a_searched_trial_is_stopped_at_the_first_rung_above_the_envelope() -> None:
    trials = [tried(number, 0.5, (2.0, 4.0, 8.0)) for number in range(3)]
    assert enveloped(trials, 1, {2: 1.0, 4: 0.9}) == 8.0 + 4.0 + 4.0
    assert enveloped(trials, 1, {8: 0.1}) == 24.0
