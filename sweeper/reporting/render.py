"""Renders a report: the page as HTML, ``report.md`` and ``MODEL_CARD.md`` as Markdown.

The page has autoescaped templates and a strict content security policy: style and script are part
of the file and allowed by their hashes; nothing else may run, and nothing may be fetched.
``report.md`` has at most 60 lines, for a comment on a pull request. Its first line is a hidden
marker with the run's name, by which a script finds the comment to update. ``MODEL_CARD.md`` is a
draft for the best model, in which gaps are marked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sweeper import resources, units
from sweeper.features.parts import HEADING
from sweeper.findings import words
from sweeper.findings.verdict.headline import (
    figure_lines,
    headline_figures,
    limits_line,
    scoreboard,
)
from sweeper.reporting.blocks import Page
from sweeper.reporting.charts.draw import render_svg
from sweeper.reporting.compose import banner, finding_of, sections
from sweeper.reporting.document import Report
from sweeper.safe_text import shortened, visible

_TEMPLATES = resources.reports() / "templates"
# A term with its tooltip: id, text, id, meaning.
_TERM = Markup(
    '<span class="term"><button type="button" aria-describedby="{}">{}</button>'
    '<span role="tooltip" id="{}">{}</span></span>'
)
# Maximum number of lines of report.md, and of models and limits in it.
MAX_LINES, _MAX_ITEMS = 60, 8
# Characters with a meaning in Markdown.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#!~&])")
# Marks a gap in MODEL_CARD.md, as in the template of the Hugging Face Hub.
UNKNOWN = "[More Information Needed]"


def render(page: Page) -> str:
    """The report as one HTML file.

    Raises:
        NotDrawn: A chart could not be drawn.
    """
    page = replace(page, terms=dict(page.terms))  # a copy, since ``_explained`` removes terms
    return render_file(_TEMPLATES / "page.html.j2", stylesheet(), _asset("report.js"), page=page)


def stylesheet() -> str:
    """The stylesheet of the report."""
    return _asset("report.css")


def light_colors() -> dict[str, str]:
    """The colours of the light theme, by the name of their CSS variable."""
    theme = stylesheet().partition("}")[0]
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", theme))


def _asset(name: str) -> str:
    return (resources.reports() / "assets" / name).read_text(encoding="utf-8")


def render_file(template: Path, style: str, script: str, **values: object) -> str:
    """A template as one HTML file, with style and script.

    Args:
        template: A template with ``policy``, ``style``, ``script`` and the names in ``values``.
    """
    assets = {"policy": policy(style, script), "style": Markup(style), "script": Markup(script)}
    environment = _environment(template.parent, html=True)
    return environment.get_template(template.name).render(**assets, **values)


def policy(style: str, script: str) -> str:
    """The content security policy that allows only this style and this script."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _environment(folder: Path, *, html: bool) -> Environment:
    """The templates of a folder, whose values are escaped for HTML or for Markdown."""
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=html,
        undefined=StrictUndefined,
        finalize=_escaped if html else _escaped_in_markdown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "drawn": render_svg,
        "whole": _unshortened,
        "explained": _explained,
        "paired": partial(zip, strict=True),
    }
    return environment


def _escaped(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(shortened(value))
    return value


def _unshortened(text: str) -> Markup:
    """A text to copy: escaped, but not shortened."""
    return escape(visible(text))


def _explained(text: str, terms: dict[str, str]) -> Markup:
    """A text whose terms have tooltips at their first occurrence on the page.

    Args:
        terms: Terms that have not occurred yet; those in the text are removed.
    """

    def with_tooltip(match: re.Match[str]) -> str:
        meaning = terms.pop(match[1], "")
        name = f"term-{re.sub(r'[^a-z0-9]', '-', match[1].lower())}"
        return _TERM.format(name, Markup(match[0]), name, meaning) if meaning else match[0]

    html = str(escape(_escaped(text)))
    names = "|".join(map(re.escape, terms)) or "(?!)"  # which matches nothing
    return Markup(re.sub(rf"(?<![\w-])({names})s?(?![\w-])", with_tooltip, html))


def plain(text: str) -> str:
    """Text on one line, with Markdown's special characters escaped."""
    return _SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def _escaped_in_markdown(value: object) -> str:
    return value if isinstance(value, Markup) else plain(str(value))


def _rendered_markdown(template: str, report: Report, **values: object) -> str:
    findings = report.findings
    common_values = {"report": report, "findings": findings, "run": findings.run}
    return (
        _environment(_TEMPLATES, html=False)
        .get_template(template)
        .render(**common_values, words=words, units=units, unknown=Markup(UNKNOWN), **values)
    )


def markdown(report: Report) -> str:
    """The text of ``report.md``."""
    findings = report.findings
    command = findings.reproduction.command
    lines = {HEADING.required(module).title: finding_of(module, report) for module in sections()}
    summary = limits_line(findings)
    text = _rendered_markdown(
        "report.md.j2",
        report,
        marker=re.sub(r"[^A-Za-z0-9._-]", "-", findings.run.name).replace("--", "-"),
        notice=banner(report),
        board=scoreboard(findings),
        max_items=_MAX_ITEMS,
        figures=headline_figures(findings)[1:],
        lines={title: line for title, line in lines.items() if line not in ("", command)},
        summary=summary,
        limits=[limit for limit in findings.limits if limit.text not in summary],
        command=visible(" ".join(command.replace("`", "").split())),
    )
    return "\n".join(text.split("\n")[:MAX_LINES]).rstrip("\n") + "\n"


def model_card(report: Report) -> str:
    """The draft of a model card, or a note that no trial has completed."""
    findings, trial = report.findings, report.findings.best
    if trial is None:
        name = plain(findings.run.name)
        return f"# {name}\n\nNo trial has completed: there is no model to describe yet.\n"
    traits = trial.strategy.traits
    return _rendered_markdown(
        "model_card.md.j2",
        report,
        trial=trial,
        needs_base=trial.result.base is not None
        and not (traits is not None and traits.trains_base),
        data=report.plan.data,
        reproduction=findings.reproduction,
        parameters=words.configuration(trial.config.parameters),
        data_lines=report.data_lines(),
        figures=figure_lines(findings, trial.number),
        card=report.card,
    )
