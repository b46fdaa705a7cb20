from __future__ import annotations

from spaces import ended, report

from benchmarks.search.pruning import enveloped, foreseen
from sweeper.plans import Configuration
from sweeper.search.alone import TrialCosts


def tried(number: int, loss: float | None, seconds: tuple[float, ...]) -> TrialCosts:
    reports = {rung: report(rung, 1.0, at) for rung, at in zip((2, 4, 8), seconds, strict=False)}
    result = ended("FAIL" if loss is None else "COMPLETE", loss, seconds[-1])
    config = Configuration(number=number, strategy="lora")
    return TrialCosts(config, "lora", {}, reports, result, loss)


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
    trial, result = Configuration(number=1, strategy="head"), ended("COMPLETE", 0.6, 3.0)
    head = TrialCosts(trial, "head", {}, {8: report(8, 0.6, 3.0)}, result, 0.6)
    assert foreseen([tried(0, 0.5, (2.0, 4.0, 8.0)), head], 1, 2) == 11.0


def test_a_searched_trial_is_stopped_at_the_first_rung_above_the_envelope() -> None:
    trials = [tried(number, 0.5, (2.0, 4.0, 8.0)) for number in range(3)]
    assert enveloped(trials, 1, {2: 1.0, 4: 0.9}) == 8.0 + 4.0 + 4.0
    assert enveloped(trials, 1, {8: 0.1}) == 24.0
