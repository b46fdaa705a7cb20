"""The one opening of the test split: what will be scored is written before anything is.

Knows which models are scored and the file that says so; scoring is the workers' work.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sweeper.execution import records
from sweeper.execution.events import now
from sweeper.execution.jobs import Job, score_file, scoring
from sweeper.execution.ledger import Ledger
from sweeper.planning.plan import Plan
from sweeper.runfolder import RunFolder
from sweeper.search.finalists import Contender, Losses, order, recommend
from sweeper.trials import BaselineResult, TestSeal, TrialResult


def seeds_of(plan: Plan) -> list[int]:
    """The seeds of the confirmation runs; the trial itself had the plan's seed."""
    return [plan.seed + extra for extra in range(1, plan.budget.confirmation_seeds)]


def contender(run: RunFolder, plan: Plan, number: int) -> Contender:
    """A finalist with what its own run and its confirmation runs showed on validation."""
    folders = [run.trial(number), *(run.seed(number, seed) for seed in seeds_of(plan))]
    found = [folder for folder in folders if (folder / records.RESULT).exists()]
    results = {folder: TrialResult.read(folder / records.RESULT) for folder in found}
    complete = {folder: one for folder, one in results.items() if one.validation_loss is not None}
    items = [_item_losses(folder) for folder in complete]
    same = len({row.shape for row in items}) == 1
    seconds = [one.training_seconds + one.evaluation_seconds for one in complete.values()]
    return Contender(
        trial=number,
        losses=tuple(one.validation_loss or 0.0 for one in complete.values()),
        items=np.stack(items) if same else np.empty((0, 0)),
        memory_gib=max((one.peak_memory_gib or 0.0 for one in complete.values()), default=0.0),
        seconds=float(np.mean(seconds)) if seconds else 0.0,
    )


def _item_losses(folder: Path) -> Losses:
    path = folder / records.ITEM_LOSSES
    kept = json.loads(path.read_text(encoding="utf-8"))["losses"] if path.exists() else []
    return np.asarray(kept, dtype=float)


def open_seal(run: RunFolder, plan: Plan, finalists: Sequence[int]) -> TestSeal:
    """Fix the order and the recommendation, or take what was fixed before."""
    if run.test_seal.exists():
        return TestSeal.read(run.test_seal)
    contenders = [contender(run, plan, number) for number in finalists]
    tests = next((s.rows for s in plan.facts.data.splits if s.name == "test"), 0)
    classification = plan.facts.task == "classification"
    seal = TestSeal(
        order=tuple(one.trial for one in order(contenders)),
        recommended=recommend(contenders, plan.seed),
        opened_at=now(),
        headline_metric="accuracy" if classification else "loss",
        higher_is_better=classification,
        items=tests,
    )
    seal.write(run.test_seal)
    return seal


def scoring_jobs(run: RunFolder, plan: Plan, seal: TestSeal, ledger: Ledger) -> list[Job]:
    """What is scored: baselines, each strategy's default, the finalists with all their seeds."""
    jobs = [Job("test", path.stem) for path in sorted(run.baselines.glob("*.json"))]
    numbers = dict.fromkeys([*seal.order, *ledger.defaults()])
    jobs += [scoring(number) for number in numbers]
    for number in seal.order:
        for seed in seeds_of(plan):
            result = run.seed(number, seed) / records.RESULT
            if result.exists() and TrialResult.read(result).state == "COMPLETE":
                jobs.append(scoring(number, seed))
    return jobs


def close_seal(run: RunFolder, seal: TestSeal, jobs: Sequence[Job]) -> TestSeal:
    """Put the scores into the seal and into the baselines' own files."""
    files = [score_file(run, job) for job in jobs]
    scores = tuple(records.read_score(file) for file in files if file.exists())
    for score in scores:
        path = run.baselines / f"{score.name}.json"
        if score.trial is None and path.exists():
            known = BaselineResult.read(path)
            figures = {"test_loss": score.loss, "test_metrics": score.metrics}
            known.model_copy(update=figures).write(path)
    complete = seal.model_copy(update={"scores": scores, "complete": True})
    complete.write(run.test_seal)
    return complete


def drop_seed_weights(run: RunFolder, plan: Plan, seal: TestSeal) -> None:
    """Delete the weights of confirmation runs, which were only needed to be scored."""
    for number in seal.order:
        for seed in seeds_of(plan):
            if (run.seed(number, seed) / records.WEIGHTS).exists():
                records.drop_weights(run.seed(number, seed))
