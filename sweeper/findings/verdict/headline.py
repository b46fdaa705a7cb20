"""The figures of the model that a verdict is about: its scores and costs."""

from __future__ import annotations

from typing import NamedTuple

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Interval
from sweeper.findings.findings import Findings
from sweeper.trials import Trial


def figure_lines(findings: Findings, number: int) -> list[str]:
    """The figures of a completed trial on validation and, if it was a finalist, on the test."""
    row, finalist = findings.trial(number), findings.finalist(number)
    assert row is not None
    lines = [f"- {words.validation_figure(row.value, findings.objective)}"]
    if finalist is not None and finalist.test_score is not None:
        score = words.score_with_interval(finalist.test_score, findings.metric)
        lines.append(f"- Test {findings.metric.title}: {score}")
    return lines


def cost_line(findings: Findings) -> str:
    """A sentence on the costs to train and to use; empty if the use was not measured."""
    row = findings.trial(findings.verdict.recommended_trial)
    if row is None or row.result.weights_bytes is None:
        return ""
    train, use = _training(findings, row), _use(findings, row)
    return f"Trial {row.number} costs {train} to train; its use takes {use}."


class HeadlineFigure(NamedTuple):
    """One of the three figures of a verdict. ``pointer`` is its JSON pointer in ``report.json``."""

    name: str
    text: str
    detail: str = ""
    pointer: str = ""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.text, self.detail)))


def headline_figures(findings: Findings) -> list[HeadlineFigure]:
    """Score, cost to train and cost to use of the recommended model, or of the best so far."""
    decided, row = findings.verdict, findings.trial(findings.verdict.best_trial)
    if (baseline := findings.baseline(decided.recommended_baseline)) is not None:
        pointer = "/findings/verdict/baseline_score/value"
        score = _score(f"test {findings.metric.title}", decided.baseline_score, findings, pointer)
        return [score, HeadlineFigure("to fit and score", units.duration(baseline.seconds))]
    if row is None:
        return []
    finalist = findings.finalist(row.number)
    if finalist is not None and finalist.test_score is not None:
        pointer = f"/findings/finalists/{findings.finalists.index(finalist)}/test_score/value"
        score = _score(f"test {findings.metric.title}", finalist.test_score, findings, pointer)
    else:
        metric = findings.objective
        name = words.sentence(words.on_validation(metric))
        text = f"{words.score(row.value, metric)} {words.column_unit(metric)}".rstrip()
        pointer = f"/findings/trials/{findings.trials.index(row)}/result/objective"
        score = HeadlineFigure(name, text, metric.direction_in_words, pointer)
    use = _use(findings, row)
    return [score, _training(findings, row), *([use] if use.text else [])]


def _score(name: str, score: Interval | None, findings: Findings, pointer: str) -> HeadlineFigure:
    text = words.score(score.value if score else None, findings.metric, score)
    return HeadlineFigure(name, text, words.interval_text(score, findings.metric), pointer)


def _training(findings: Findings, row: Trial) -> HeadlineFigure:
    memory = units.gib(row.result.peak_memory_gib) if row.result.peak_memory_gib is not None else ""
    suffix = " besides the process" if memory and findings.run.device == "cpu" else ""
    return HeadlineFigure("to train", units.duration(row.seconds), f"{memory}{suffix}")


def _use(findings: Findings, row: Trial) -> HeadlineFigure:
    """Time and size of the use; without text if they were not measured."""
    size, tested, result = "", findings.tested_trial(row.number), row.result
    if result.weights_bytes is not None:
        base = f" beside {units.size(result.base_bytes)} of the base" if result.base_bytes else ""
        size = f"{units.size(result.weights_bytes)} of weights{base}"
    if tested is None or tested.seconds_per_thousand is None:
        return HeadlineFigure("to use", size)
    items = "answers in writing" if tested.generated is not None else "items"
    pace = f"{units.duration(tested.seconds_per_thousand)} per 1,000 {items}"
    return HeadlineFigure("to use", pace, size)
