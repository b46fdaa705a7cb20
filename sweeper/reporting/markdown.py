"""``report.md`` and ``MODEL_CARD.md``: a report as Markdown.

``report.md`` has at most 60 lines, for a comment on a pull request. Its first line is a hidden
marker with the run's name, to find and update the comment. ``MODEL_CARD.md`` is a draft for the
model that a run recommends, with gaps marked.
"""

from __future__ import annotations

import re
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sweeper import resources, units
from sweeper.features.parts import HEADING
from sweeper.findings import words
from sweeper.findings.verdict.headline import figure_lines, headline_figures, scoreboard
from sweeper.reporting.document import Report
from sweeper.reporting.page import banner, finding_of, sections
from sweeper.reporting.parts import limits_line, mix_lines, parameters_text, recommended_trial
from sweeper.traits.traits import StrategyOnModel
from sweeper.visible import visible

MAX_LINES = 60
_MAX_ROWS = 8
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~&])")
UNKNOWN = "[More Information Needed]"  # as in the Hugging Face Hub's template


def plain(text: str) -> str:
    """Text on one line, with Markdown's special characters escaped."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


@cache
def _templates() -> Environment:
    """The templates, whose values are escaped for Markdown unless they are ``Markup``."""
    return Environment(
        loader=FileSystemLoader(resources.reports() / "templates"),
        autoescape=False,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else plain(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _rendered(template: str, report: Report, **values: object) -> str:
    findings = report.findings
    common_values = {"report": report, "findings": findings, "run": findings.run}
    return (
        _templates()
        .get_template(template)
        .render(**common_values, words=words, units=units, unknown=Markup(UNKNOWN), **values)
    )


def markdown(report: Report) -> str:
    """The report as Markdown."""
    findings = report.findings
    command = findings.reproduction.command
    lines = {HEADING.required(part).title: finding_of(part, report) for part in sections()}
    summary = limits_line(findings)
    text = _rendered(
        "report.md.j2",
        report,
        marker=re.sub(r"[^A-Za-z0-9._-]", "-", findings.run.name).replace("--", "-"),
        notice=banner(report),
        board=scoreboard(findings),
        most=_MAX_ROWS,
        figures=headline_figures(findings)[1:],
        lines={title: line for title, line in lines.items() if line not in ("", command)},
        summary=summary,
        limits=[limit for limit in findings.limits if limit.text not in summary],
        command=visible(" ".join(command.replace("`", "").split())),
    )
    return "\n".join(text.split("\n")[:MAX_LINES]).rstrip("\n") + "\n"


def model_card(report: Report) -> str:
    """The draft of a model card, or a note that no trial has completed."""
    findings, row = report.findings, recommended_trial(report)
    if row is None:
        name = plain(findings.run.name)
        return f"# {name}\n\nNo trial has completed: there is no model to describe yet.\n"
    traits = StrategyOnModel.of(row.strategy).traits
    return _rendered(
        "model_card.md.j2",
        report,
        row=row,
        needs_base=row.result.base is not None and not (traits is not None and traits.trains_base),
        data=report.plan.data,
        reproduction=findings.reproduction,
        parameters=parameters_text(row.config.parameters),
        mix=mix_lines(report, row),
        figures=figure_lines(findings, row.number),
        card=report.card,
    )
