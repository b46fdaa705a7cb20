"""``report.md`` and ``MODEL_CARD.md``: a report as Markdown.

``report.md`` has at most 60 lines, for a comment on a pull request. Its first line is a hidden
marker with the run's name, to find and update the comment. ``MODEL_CARD.md`` is a draft for the
model that a run recommends, with gaps marked.
"""

from __future__ import annotations

import re

from sweeper import units
from sweeper.features.parts import HEADING
from sweeper.findings import words
from sweeper.findings.findings import Limitation
from sweeper.findings.verdict.headline import figure_lines, headline_figures
from sweeper.findings.verdict.scoreboard import scoreboard
from sweeper.reporting.document import Report
from sweeper.reporting.page import banner, finding_of, sections
from sweeper.reporting.parts import limits_line, mix_lines, parameters_text, recommended_trial
from sweeper.traits.traits import StrategyOnModel
from sweeper.trials import Trial
from sweeper.visible import visible

MAX_LINES = 60
_MAX_ROWS = 8
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~&])")


def markdown(report: Report) -> str:
    """The report as Markdown."""
    findings = report.findings
    run, verdict = findings.run, findings.verdict
    marker = re.sub(r"[^A-Za-z0-9._-]", "-", run.name).replace("--", "-")
    lines = [f"<!-- sweeper:{marker} -->", f"## sweeper: {plain(run.name)}", ""]
    if notice := banner(report):
        lines += [f"> {plain(notice)}", ""]
    lines += [f"**{plain(verdict.sentence)}**", ""]
    lines += [f"{plain(text)}\n" for text in report.because]
    lines += [*_scores(report), "", *_figures(report), ""]
    lines_of = {HEADING.required(part).title: finding_of(part, report) for part in sections()}
    command = findings.reproduction.command
    lines += [
        f"- {title}: {plain(line)}" for title, line in lines_of.items() if line not in ("", command)
    ]
    summary = limits_line(findings)
    limits = [limit for limit in findings.limits if limit.text not in summary]
    lines += ["", plain(summary), *_limits(limits), "", *_command(report)]
    return "\n".join(lines[:MAX_LINES]) + "\n"


def plain(text: str) -> str:
    """Text on one line, with Markdown's special characters escaped."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def _scores(report: Report) -> list[str]:
    """The models of the scoreboard, with the recommended one in bold."""
    board = scoreboard(report.findings)
    lines = [f"| {plain(board.caption)} | |", "|---|---:|"] if board.models else []
    for model in board.models[:_MAX_ROWS]:
        bold = "**" if model.role == "recommended" else ""
        score = words.score_with_interval(model.score, board.metric)
        lines.append(f"| {bold}{plain(model.title)}{bold} | {score} |")
    return lines


def _figures(report: Report) -> list[str]:
    """The costs of training and use."""
    figures = headline_figures(report.findings)[1:]
    return [plain("; ".join(f"{figure.name}: {figure}" for figure in figures))]


def _limits(limits: list[Limitation]) -> list[str]:
    lines = [f"- {plain(limit.text)} {plain(limit.action)}" for limit in limits[:_MAX_ROWS]]
    more = len(limits) - _MAX_ROWS
    return [*lines, *([f"- and {more} more in report.html"] if more > 0 else [])]


def _command(report: Report) -> list[str]:
    command = report.findings.reproduction.command.replace("`", "")
    command = visible(" ".join(command.split()))
    return [f"Again: `{command}`. The whole report is `report.html`."]


UNKNOWN = "[More Information Needed]"  # as in the Hugging Face Hub's template


def model_card(report: Report) -> str:
    """The draft of a model card, or a note that no trial has completed."""
    findings = report.findings
    row = recommended_trial(report)
    name = plain(findings.run.name)
    if row is None:
        return f"# {name}\n\nNo trial has completed: there is no model to describe yet.\n"
    parts = [f"# {name}: draft of a model card", "", *_about(report, row), *_results(report, row)]
    parts += ["", "## Intended use", "", UNKNOWN, "", "## Risks and biases", "", UNKNOWN, ""]
    parts += ["## Known limits of the evaluation", ""]
    parts += [f"- {plain(limit.text)}" for limit in findings.limits] or ["- None was found."]
    return "\n".join(parts) + "\n"


def _about(report: Report, row: Trial) -> list[str]:
    data, reproduction, result = report.plan.data, report.findings.reproduction, row.result
    models = [
        f"{plain(name)} (revision {plain(revision) if revision else UNKNOWN})"
        for name, revision in reproduction.models.items()
    ]
    versions = ", ".join(f"{name} {number}" for name, number in reproduction.versions.items())
    return [
        "## Model",
        "",
        f"- Base model: {'; '.join(models)}",
        *_base_note(row),
        f"- Fine-tuned with: {plain(words.strategy(row.strategy))} (trial {row.number} of "
        f"{report.findings.run.ended})",
        f"- Configuration: {plain(parameters_text(row.config.parameters))}",
        f"- Task: {report.findings.run.task}",
        f"- Language: {UNKNOWN}",
        f"- License: {UNKNOWN}",
        f"- Weights: {plain(result.weights) if result.weights else UNKNOWN}",
        "",
        "## Training data",
        "",
        f"- Source: {plain(data.path) if data.path else UNKNOWN}"
        + (f", commit {plain(data.revision)}" if data.revision else ""),
        *(f"- {plain(name)}: commit {plain(commit)}" for name, commit in data.commits.items()),
        f"- Rows: {data.rows:,}, of which {data.train_rows:,} to train on",
        *(f"- {plain(line)}" for line in mix_lines(report, row)),
        *([f"- Rows changed: {plain('; '.join(data.changes))}"] if data.changes else []),
        f"- SHA-256: {reproduction.data_sha256 or UNKNOWN}",
        f"- Licence and consent: {UNKNOWN}",
        "",
        "## Training",
        "",
        f"- Hardware: {plain(reproduction.hardware)}",
        f"- Time: {units.duration(row.seconds)}, peak memory {units.gib(result.peak_memory_gib)}",
        f"- Tokens: {result.tokens:,}",
        f"- Versions: {plain(versions or UNKNOWN)}",
        f"- Energy and emissions: {UNKNOWN}",
        "",
    ]


def _base_note(row: Trial) -> list[str]:
    """A note on the base that an adapter needs, if this is not the plan's base model."""
    traits = StrategyOnModel.of(row.strategy).traits
    base = row.result.base
    if base is None or (traits is not None and traits.trains_base):
        return []
    return [
        f"- The weights below are an adapter on {plain(base.folder)} in the run folder, which "
        "was made of the base model before this training. They need this base."
    ]


def _results(report: Report, row: Trial) -> list[str]:
    findings = report.findings
    lines = ["## Results", "", f"- {plain(findings.verdict.sentence)}"]
    lines += figure_lines(findings, row.number)
    if findings.objective.name != "loss":
        lines.append(
            f"- Validation loss: {words.loss(row.result.validation_loss)} {findings.loss_unit}"
        )
    return lines + [f"- {plain(sentence)}" for sentence in report.card]
