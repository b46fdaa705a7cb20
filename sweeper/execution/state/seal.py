"""Scoring of the test split.

The split is opened when the choice of models is stored in a ``TestSeal``. Only then are they
scored; their scores are added.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.artifact import now
from sweeper.evaluation.significance import Scores
from sweeper.execution.job import WorkItem
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.repair import baselines, finished_result
from sweeper.execution.state.run_state import RunState
from sweeper.objective import Limit
from sweeper.plans import Plan
from sweeper.runfolder import ITEM_LOSSES, WEIGHTS, RunFolder, read_stored
from sweeper.search.finalists import Trainings, in_order, recommend
from sweeper.trials import TestScore, TestSeal


def seeds_of(plan: Plan) -> list[int]:
    """The seeds of all possible confirmation runs; the trial itself has the plan's seed."""
    count = plan.budget.confirmation_seeds + plan.budget.extra_seeds  # with the trial's own
    return [plan.seed + offset for offset in range(1, count)]


def trainings(run: RunFolder, plan: Plan, number: int, limits: Sequence[Limit] = ()) -> Trainings:
    """The completed trainings of a finalist: its own and its confirmation runs."""
    folders = [run.trial(number), *(run.seed(number, seed) for seed in seeds_of(plan))]
    objective = plan.objective
    complete = {
        folder: result
        for folder in folders
        if (result := finished_result(folder)) and objective.cost_of(result) is not None
    }
    items = [attempts.read_items(folder / ITEM_LOSSES, objective) for folder in complete]
    scores, readable = None, [training for training in items if training is not None]
    if len(readable) == len(items) and len({training.costs.shape for training in readable}) == 1:
        scores = Scores.of([training.costs for training in readable], weights=readable[0].weights)
    return Trainings(number, list(complete.values()), scores, objective, limits)


def read_seal(run: RunFolder) -> TestSeal:
    """The stored seal, with the order of finalists and the recommendation."""
    return read_stored(TestSeal, run.test_seal)


def store_choice(
    run: RunFolder, plan: Plan, finalists: Sequence[int], limits: Sequence[Limit] = ()
) -> TestSeal:
    """Store the order of finalists and the recommendation, or read those that are stored.

    Args:
        limits: Limits that the recommended trial must keep, if any finalist does.
    """
    if run.test_seal.exists():
        return read_seal(run)
    trained = [trainings(run, plan, number, limits) for number in finalists]
    test_items = next((s.rows for s in plan.facts.data.splits if s.name == "test"), 0)
    classification, objective = plan.facts.task == "classification", plan.objective
    default_metric = "accuracy" if classification else "loss"
    seal = TestSeal(
        order=tuple(finalist.trial for finalist in in_order(trained)),
        recommended=recommend(trained),
        opened_at=now(),
        headline_metric=default_metric if objective.is_loss else objective.metric,
        higher_is_better=classification if objective.is_loss else objective.higher_is_better,
        items=test_items,
    )
    seal.write(run.test_seal)
    return seal


def scoring_work(run: RunFolder, plan: Plan, seal: TestSeal, state: RunState) -> list[WorkItem]:
    """The work items that score baselines, default trials, and finalists with all their seeds."""
    names = [name for name, baseline in baselines(run).items() if baseline is not None]
    items = [work_items.score_baseline(name) for name in names]
    numbers = dict.fromkeys([*seal.order, *state.defaults()])
    items += [work_items.score_trial(number) for number in numbers]
    for number in seal.order:
        for seed in seeds_of(plan):
            result = finished_result(run.seed(number, seed))
            if result is not None and result.state == "COMPLETE":
                items.append(work_items.score_trial(number, seed))
    return items


def store_scores(run: RunFolder, seal: TestSeal, scored: Sequence[WorkItem]) -> TestSeal:
    """Store the scores that were computed, and mark the seal as complete."""
    files = [work_items.score_file(run, item) for item in scored]
    read = [TestScore.read_or_none(file) for file in files]
    scores = tuple(score for score in read if score is not None)
    complete = seal.model_copy(update={"scores": scores, "complete": True})
    complete.write(run.test_seal)
    return complete


def drop_seed_weights(run: RunFolder, plan: Plan, seal: TestSeal) -> None:
    """Delete the weights of confirmation runs, which were only needed for scoring."""
    for number in seal.order:
        for seed in seeds_of(plan):
            if (run.seed(number, seed) / WEIGHTS).exists():
                attempts.drop_weights(run.seed(number, seed))
