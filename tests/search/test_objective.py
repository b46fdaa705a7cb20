"""A search by another objective than the loss: its direction, its values, what prunes."""

from __future__ import annotations

import optuna
import pytest
from curve_backend import make_plan
from spaces import ended as result
from spaces import report
from test_search import run

from sweeper.objective import Objective
from sweeper.search.cost_model.trial_costs import as_costs
from sweeper.search.search import Search

ACCURACY = Objective(
    name="accuracy", title="accuracy", metric="accuracy", computed_from="classes",
    higher_is_better=True, best=1.0,
)  # fmt: skip
ROUGE = ACCURACY.model_copy(
    update={"name": "rouge_l", "title": "ROUGE-L", "computed_from": "answers"}
)


def search(objective: Objective, **named: str) -> Search:
    plan = make_plan(strategies="lora").model_copy(update={"objective": objective})
    return Search(plan, **named)


def ended(made: Search, costs: list[float], losses: list[float] | None = None) -> None:
    """Trials of these final costs, whose rungs report costs or, where these are given, losses."""
    for place, cost in enumerate(costs):
        asked = made.ask()
        at_end = losses[place] if losses else cost
        for rung in range(1, 9):
            at_rung = at_end + 0.1 * (8 - rung)
            known = (
                report(rung, at_rung) if losses else report(rung, 3 * cost, objective=1 - at_rung)
            )
            made.report(asked.number, known)
        value = made.objective.value(cost)
        made.tell(asked.number, result("COMPLETE", at_end, 1.0, objective=value))


def test_a_study_keeps_values_in_the_objectives_direction() -> None:
    made = search(ACCURACY)
    ended(made, [0.3, 0.1, 0.2])
    assert made.study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert made.study.best_trial.number == 1
    assert [trial.value for trial in made.study.trials] == pytest.approx([0.7, 0.9, 0.8])
    assert made.study.trials[0].intermediate_values[8] == pytest.approx(0.7)
    assert [one.cost for one in made.seen()] == pytest.approx([0.3, 0.1, 0.2])
    assert made.seen()[0].curve[8] == pytest.approx(0.3)


def test_others_samplers_and_pruners_get_the_values() -> None:
    made = search(
        ACCURACY, sampler="optuna:RandomSampler", pruner="optuna:ThresholdPruner(lower=0.5)"
    )
    good, poor = made.ask(), made.ask()
    assert not made.report(good.number, report(1, 1.0, objective=0.6)).prune
    judged = made.report(poor.number, report(1, 1.0, objective=0.4))
    assert judged.prune
    assert judged.because == "ThresholdPruner stopped it at rung 1 with accuracy 0.4"


def test_a_trial_diverges_by_its_loss_whatever_the_objective_is() -> None:
    made = search(ACCURACY)
    number = made.ask().number
    made.report(number, report(1, 0.5, objective=0.8))
    judged = made.report(number, report(2, 4.0, objective=0.8))
    assert "the validation loss rose from 0.5 to 4" in judged.because


def test_a_dear_objective_is_pruned_by_the_loss_as_a_study_of_the_loss_is() -> None:
    by_loss, dear = search(Objective()), search(ROUGE)
    losses = [1.0, 1.1, 1.05, 1.02]
    ended(by_loss, losses)
    ended(dear, [0.5, 0.8, 0.6, 0.55], losses)
    told = []
    for made in (by_loss, dear):
        number = made.ask().number
        told.append([made.report(number, report(rung, 4.0 - 0.01 * rung)) for rung in range(1, 6)])
    assert [one.prune for one in told[0]] == [one.prune for one in told[1]]
    assert told[0][-1] == told[1][-1]
    assert "with validation loss" in next(one.because for one in told[1] if one.prune)
    assert dear.study.trials[0].value == pytest.approx(0.5)
    assert dear.study.trials[0].intermediate_values[8] == pytest.approx(-1.0)


def test_a_pruned_trial_of_a_dear_objective_counts_with_the_cost_at_its_loss() -> None:
    made = search(ROUGE)
    ended(made, [0.5, 0.7, 0.6], [1.0, 2.0, 1.5])
    number = made.ask().number
    made.report(number, report(3, 3.0))
    made.tell(number, result("PRUNED", seconds=1.0))
    assert made.seen()[-1].cost == pytest.approx(0.9)  # on the line through the others
    assert made.seen()[-1].curve == pytest.approx({3: 0.9})
    few = search(ROUGE)
    ended(few, [0.5], [1.0])
    number = few.ask().number
    few.report(number, report(3, 3.0))
    few.tell(number, result("PRUNED", seconds=1.0))
    assert few.seen()[-1].cost == pytest.approx(0.5)
    assert as_costs([]) == []


def test_a_restored_search_by_accuracy_goes_on_as_if_it_had_not_been_cut_off() -> None:
    plan = make_plan(strategies="lora,full").model_copy(update={"objective": ACCURACY})
    whole = run(Search(plan), 8)
    again = Search(plan)
    for ran in whole[:5]:
        again.restore(*ran)
    assert run(again, 3) == whole[5:]
