from __future__ import annotations

import math
from dataclasses import replace

import pytest
from curve_backend import make_plan
from spaces import SPACE

from sweeper.constraints import Limit
from sweeper.search.search import Asked, End, Restored, Rung, Search, default_start
from sweeper.trials import Measure, TrialResult

LORA, FULL = (default_start(one.strategy, one) for one in SPACE.candidates)


def curve(asked: Asked) -> list[Rung]:
    away = math.log10(float(asked.parameters["learning_rate"]) / 1e-3)
    end = (0.3 if asked.key == "lora" else 0.4) + 0.2 * away**2
    return [Rung(rung, end + (1 - end) * math.exp(-rung / 2)) for rung in range(1, 9)]


def run(search: Search, trials: int) -> list[Restored]:
    """So many trials one after the other, as they could be restored."""
    ran = []
    for _ in range(trials):
        asked, told = search.ask(), []
        for rung in curve(asked):
            told.append(rung)
            if search.report(asked.number, rung).prune:
                break
        state = "COMPLETE" if len(told) == 8 else "PRUNED"
        end = End(state, told[-1].loss, 2.0 * len(told))
        search.tell(asked.number, end)
        ran.append(Restored(asked, told, end))
    return ran


def test_a_restored_search_goes_on_as_if_it_had_not_been_cut_off() -> None:
    whole = run(Search(SPACE, [LORA, FULL]), 16)
    for upto in (0, 1, 9):
        search = Search(SPACE, [LORA, FULL])
        search.restore(whole[:upto])
        assert run(search, 16 - upto) == whole[upto:]


def test_starts_come_first_once_each_and_in_order() -> None:
    search = Search(SPACE, [FULL, LORA, LORA])
    search.restore([Restored(Asked(0, "lora", {"learning_rate": 2e-4}, "default"))])
    assert search.untried == [FULL, LORA]
    asked = [search.ask() for _ in range(3)]
    assert [one.key for one in asked[:2]] == ["full", "lora"]
    assert [one.origin for one in asked] == ["default", "default", "search"]
    assert search.untried == []


def test_a_trial_that_begins_again_is_judged_by_the_rungs_that_count() -> None:
    search = Search(SPACE, [LORA])
    number = search.ask().number
    assert search.report(number, Rung(1, 0.5)) == search.report(number, Rung(2, 0.4))
    search.restart(number, [Rung(1, 0.6)])
    assert search.seen()[0].reported == {1: 0.6}
    assert search.report(number, Rung(2, math.inf)).prune
    assert search.seen()[0].origin == "default"


@pytest.mark.parametrize("state", ["FAIL", "PRUNED"])
def test_how_a_trial_ended_is_seen(state: str) -> None:
    search = Search(SPACE)
    number = search.ask().number
    loss = None if state == "FAIL" else 0.7
    search.report(number, Rung(1, 0.7))
    assert search.seen()[0].running
    search.tell(number, End(state, loss, 3.0, "diverged" if state == "FAIL" else ""))
    one = search.seen()[0]
    assert (one.loss, one.failed, one.seconds) == (loss, state == "FAIL", 3.0)
    assert not one.running


def test_other_samplers_are_made_anew_for_each_trial_so_that_a_resume_changes_nothing() -> None:
    name = "optuna:RandomSampler"
    whole = run(Search(SPACE, [LORA], sampler=name, pruner="optuna:NopPruner"), 6)
    search = Search(replace(SPACE), [LORA], sampler=name, pruner="optuna:NopPruner")
    search.restore(whole[:3])
    assert run(search, 3) == whole[3:]


@pytest.mark.parametrize(("most", "excess"), [(None, None), (0.02, 0.03), (0.09, -0.04)])
def test_a_trial_is_held_to_the_limits(most: float | None, excess: float | None) -> None:
    measures = {"size": Measure(title="size", unit="m", value=1.05, base=1.0)}
    result = TrialResult(number=0, attempt=1, seed=0, state="COMPLETE", measures=measures)
    limits = () if most is None else (Limit("size", most, "size", 2, ""),)
    assert End.of(result, (), make_plan(), limits).excess == (excess and pytest.approx(excess))
