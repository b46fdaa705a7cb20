from __future__ import annotations

import math

import pytest
from spaces import LIMIT, SPACE, beyond, ended, report

from sweeper.plans import Configuration
from sweeper.search.search import Search
from sweeper.trials import RungReport, TrialResult

LORA, FULL = (Configuration(strategy=one.strategy) for one in SPACE.candidates)
Ran = tuple[Configuration, list[RungReport], TrialResult]


def curve(trial: Configuration) -> list[RungReport]:
    away = math.log10(float(trial.parameters["learning_rate"]) / 1e-3)
    end = (0.3 if trial.strategy == "lora" else 0.4) + 0.2 * away**2
    return [report(rung, end + (1 - end) * math.exp(-rung / 2)) for rung in range(1, 9)]


def run(search: Search, trials: int) -> list[Ran]:
    """So many trials one after the other, as they could be restored."""
    ran = []
    for _ in range(trials):
        asked, told = search.ask(), []
        for rung in curve(asked):
            told.append(rung)
            if search.report(asked.number, rung).prune:
                break
        state = "COMPLETE" if len(told) == 8 else "PRUNED"
        loss = told[-1].validation_loss if state == "COMPLETE" else None
        value = None if loss is None else search.objective.value(loss)
        result = ended(state, loss, 2.0 * len(told), objective=value)
        search.tell(asked.number, result)
        ran.append((asked, told, result))
    return ran


def test_a_restored_search_goes_on_as_if_it_had_not_been_cut_off() -> None:
    whole = run(Search(SPACE, [LORA, FULL]), 16)
    for upto in (0, 1, 9):
        search = Search(SPACE, [LORA, FULL])
        for ran in whole[:upto]:
            search.restore(*ran)
        assert run(search, 16 - upto) == whole[upto:]


def test_starts_come_first_once_each_and_in_order() -> None:
    search = Search(SPACE, [FULL, LORA, LORA])
    search.restore(Configuration(number=0, strategy="lora", parameters={"learning_rate": 2e-4}))
    assert search.untried == [FULL, LORA]
    asked = [search.ask() for _ in range(3)]
    assert [one.strategy for one in asked[:2]] == ["full", "lora"]
    assert [one.origin for one in asked] == ["default", "default", "search"]
    assert search.untried == []


def test_a_trial_that_begins_again_is_judged_by_the_rungs_that_count() -> None:
    search = Search(SPACE, [LORA])
    number = search.ask().number
    assert search.report(number, report(1, 0.5)) == search.report(number, report(2, 0.4))
    search.restart(number, [report(1, 0.6)])
    assert search.seen()[0].reported == {1: 0.6}
    assert search.report(number, report(2, math.inf)).prune
    assert search.seen()[0].config.origin == "default"


@pytest.mark.parametrize("state", ["FAIL", "PRUNED"])
def test_how_a_trial_ended_is_seen(state: str) -> None:
    search = Search(SPACE)
    number = search.ask().number
    loss = None if state == "FAIL" else 0.7
    search.report(number, report(1, 0.7))
    assert search.seen()[0].running
    search.tell(number, ended(state, seconds=3.0))
    one = search.seen()[0]
    assert (one.cost, one.failed, one.seconds) == (loss, state == "FAIL", 3.0)
    assert not one.running


def test_other_samplers_are_made_anew_for_each_trial_so_that_a_resume_changes_nothing() -> None:
    name = "optuna:RandomSampler"
    whole = run(Search(SPACE, [LORA], sampler=name, pruner="optuna:NopPruner"), 6)
    search = Search(SPACE, [LORA], sampler=name, pruner="optuna:NopPruner")
    for ran in whole[:3]:
        search.restore(*ran)
    assert run(search, 3) == whole[3:]


@pytest.mark.parametrize("violation", [None, 0.03, -0.04])
@pytest.mark.parametrize("limits", [(), (LIMIT,)])
def test_a_trial_is_held_to_the_limits(limits: tuple, violation: float | None) -> None:
    search = Search(SPACE, limits=limits)
    result = ended("COMPLETE", 0.5, measures=beyond(violation))
    search.tell(search.ask().number, result)
    assert search.seen()[0].violation == (violation if limits else None)


def test_a_rung_is_held_against_the_median_of_the_candidates_other_trials() -> None:
    search = Search(SPACE, [LORA, FULL, LORA, LORA])
    for loss in (1.0, 9.0, 2.0, 0.5):
        search.report(search.ask().number, report(1, loss))
    assert [search.median(number, 1) for number in range(4)] == [1.25, None, 0.75, 1.5]
    assert search.median(3, 2) is None
    search.restart(2)
    search.report(2, report(1, math.nan))
    assert [search.median(number, 1) for number in (2, 3)] == [None, 1.0]
