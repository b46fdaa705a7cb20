"""``report.md``: the report in at most 60 lines, for a pull request's comment.

The first line is a hidden marker with the study's name, by which a comment is found and updated.
"""

from __future__ import annotations

import re

from sweeper import units
from sweeper.findings import words
from sweeper.findings.record import Limitation
from sweeper.reporting.document import Report
from sweeper.reporting.page import banner
from sweeper.reporting.parts import decisive_limit
from sweeper.visible import visible

LINES = 60
_ROWS = 8
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~&])")


def markdown(report: Report) -> str:
    """The report as Markdown."""
    findings = report.findings
    run, decided = findings.run, findings.verdict
    marker = re.sub(r"[^A-Za-z0-9._-]", "-", run.name).replace("--", "-")
    lines = [f"<!-- sweeper:{marker} -->", f"## sweeper: {plain(run.name)}", ""]
    told = banner(report)
    if told:
        lines += [f"> {plain(told)}", ""]
    lines += [f"**{plain(decided.sentence)}**", ""]
    if limit := decisive_limit(report):
        lines += [plain(limit), ""]
    lines += [f"- {plain(reason)}" for reason in decided.because[:_ROWS]]
    lines += [f"- {plain(sentence)}" for sentence in report.summary]
    lines += ["", *_strategies(report), "", *_limits(findings.limits)]
    lines += ["", *_again(report)]
    return "\n".join(lines[:LINES]) + "\n"


def plain(text: str) -> str:
    """Text that no Markdown renderer takes for markup, on one line."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def _strategies(report: Report) -> list[str]:
    metric = report.findings.objective
    title = ", ".join(filter(None, (words.on_validation(metric), words.column_unit(metric))))
    lines = [
        f"| strategy | best trial | {plain(title)} ({metric.direction}) | time a trial "
        "| peak memory | completed / pruned / failed |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for summary in report.findings.strategies[:_ROWS]:
        trial = words.DASH if summary.best_trial is None else str(summary.best_trial)
        lines.append(
            f"| {plain(words.strategy(summary.strategy))} | {trial} "
            f"| {words.score(summary.best_value, metric, summary.best_interval)} "
            f"| {units.duration(summary.seconds_per_trial)} | {units.gib(summary.peak_memory_gib)} "
            f"| {summary.complete} / {summary.pruned} / {summary.failed} |"
        )
    return lines


def _limits(limits: tuple[Limitation, ...]) -> list[str]:
    if not limits:
        return []
    told = [f"- {plain(limit.text)} {plain(limit.action)}" for limit in limits[:_ROWS]]
    more = len(limits) - _ROWS
    return [
        f"{units.plural(len(limits), 'limit applies', 'limits apply')}:",
        *told,
        *([f"- and {more} more in report.html"] if more > 0 else []),
    ]


def _again(report: Report) -> list[str]:
    command = report.findings.reproduction.command.replace("`", "")
    command = visible(" ".join(command.split()))
    return [f"Again: `{command}`. The whole report is `report.html`."]
