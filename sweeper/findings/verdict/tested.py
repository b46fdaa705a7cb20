"""The models on the opened test split: their figures side by side, and one class by class."""

from __future__ import annotations

import statistics

from sweeper import units
from sweeper.evaluation.significance import mean_interval
from sweeper.findings import words
from sweeper.findings.record import Findings, TestedModel, TrialRow
from sweeper.findings.study.item_scores import (
    entries,
    interval,
    model_title,
    test_losses,
    test_scores,
)
from sweeper.findings.study.metric import LOSS, headline, score_bounds
from sweeper.findings.study.reading import RunFiles
from sweeper.findings.study.trial_rows import finite
from sweeper.trials import GeneratedAnswers, TestScore


def tested_models(run: RunFiles) -> tuple[TestedModel, ...]:
    """Finalists in their order, then the other trials, then the baselines."""
    scores, losses = test_scores(run), test_losses(run)
    grouped = entries(run)
    bounds = score_bounds(headline(run.plan, run.seal))
    places = {number: place for place, number in enumerate(run.seal.order if run.seal else ())}

    def rank(name: str) -> tuple[int, int]:
        trial = grouped[name][0].trial
        return (2, 0) if trial is None else (int(trial not in places), places.get(trial, trial))

    return tuple(
        TestedModel(
            name=name,
            title=model_title(run, name),
            trial=grouped[name][0].trial,
            seeds=len(grouped[name]),
            score=interval(mean_interval(scores.by_name[name]), bounds),
            loss=interval(mean_interval(losses[name]), LOSS) if name in losses else None,
            metrics=finite(scores.metrics.get(name, {})),
            generated=_generated(grouped[name]),
            seconds_per_thousand=_seconds_per_thousand(grouped[name]),
        )
        for name in sorted(scores.by_name, key=rank)
    )


def _seconds_per_thousand(scores: list[TestScore]) -> float | None:
    """The median over trainings: the first one may wait for files and compilers."""
    wrote = [(s.generated.greedy_seconds, s.generated.items) for s in scores if s.generated]
    read = [(s.seconds, len(s.item_scores)) for s in scores]
    paces = [1000 * took / items for took, items in wrote or read if took is not None and items]
    return statistics.median(paces) if paces else None


def _generated(scores: list[TestScore]) -> GeneratedAnswers | None:
    """Written answers, of the one training that wrote some."""
    found = next((score.generated for score in scores if score.generated is not None), None)
    items: dict[str, object] = {"said": {}, "places": (), "item_metrics": {}}
    return found and found.model_copy(update={"metrics": finite(found.metrics), **items})


def figure_lines(findings: Findings, number: int) -> list[str]:
    """The figures of a completed trial on validation and, if it was a finalist, on the test."""
    row, finalist = findings.trial(number), findings.finalist(number)
    assert row is not None
    lines = [f"- {words.validation_figure(row.objective, findings.objective)}"]
    if finalist is not None and finalist.test_score is not None:
        score = words.score_with_interval(finalist.test_score, findings.metric)
        lines.append(f"- Test {findings.metric.title}: {score}")
    return lines


def cost_line(findings: Findings) -> str:
    """Both costs in one sentence; empty if the use of the trial was not measured."""
    wanted = findings.verdict.recommended_trial
    row, tested = findings.trial(wanted), findings.tested_trial(wanted)
    if row is None or row.weights_bytes is None:
        return ""
    memory = f" and {units.gib(row.peak_memory_gib)}" if row.peak_memory_gib is not None else ""
    memory += " (without the process itself)" if memory and findings.run.device == "cpu" else ""
    uses = [_size(row)]
    if row.total_parameters is not None:
        uses.append(f"{units.count(row.total_parameters)} parameters")
    if tested is not None and tested.seconds_per_thousand is not None:
        uses.append(f"{units.duration(tested.seconds_per_thousand)} per 1,000 {_items(tested)}")
    return (
        f"Trial {row.number} costs {units.duration(row.seconds)}{memory} to train; "
        f"its use takes {', '.join(uses)}."
    )


def _size(row: TrialRow) -> str:
    own = units.size(row.weights_bytes)
    return (
        f"{own} of weights beside {units.size(row.base_bytes)} of the base"
        if row.base_bytes
        else f"{own} of weights"
    )


def _items(tested: TestedModel) -> str:
    return "answers in writing" if tested.generated is not None else "items"
