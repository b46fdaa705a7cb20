"""``report.md``: the report in at most 60 lines, for a comment on a pull request.

The first line is a hidden marker with the run's name, to find and update the comment.
"""

from __future__ import annotations

import re

from sweeper.features.parts import HEADING
from sweeper.findings import words
from sweeper.findings.findings import Limitation
from sweeper.findings.verdict.headline import headline_figures
from sweeper.findings.verdict.scoreboard import scoreboard
from sweeper.reporting.document import Report
from sweeper.reporting.find_sections import sections
from sweeper.reporting.page import banner, finding_of
from sweeper.reporting.parts import limits_line
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
