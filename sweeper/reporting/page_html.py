"""Renders a page as HTML: autoescaped templates and a strict content security policy.

Style and script are part of the file and allowed by their hashes; nothing else may run, and nothing
may be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sweeper import resources
from sweeper.reporting.blocks import Page
from sweeper.reporting.charts.draw import render_svg
from sweeper.safe_text import shortened, visible


def render(page: Page) -> str:
    """The report as one HTML file.

    Raises:
        NotDrawn: A chart could not be drawn.
    """
    template = resources.reports() / "templates" / "page.html.j2"
    page = replace(page, terms=dict(page.terms))
    return render_file(template, stylesheet(), _asset("report.js"), page=page)


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
    return _environment(template.parent).get_template(template.name).render(**assets, **values)


def policy(style: str, script: str) -> str:
    """The content security policy that allows only this style and this script."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@lru_cache(maxsize=2)
def _environment(folder: Path) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_escaped,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = render_svg
    environment.filters["whole"] = _unshortened
    environment.filters["explained"] = _explained
    environment.filters["paired"] = partial(zip, strict=True)
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
    names = "|".join(map(re.escape, terms)) or "(?!)"
    return Markup(re.sub(rf"(?<![\w-])({names})s?(?![\w-])", with_tooltip, html))


_TERM = Markup(
    '<span class="term"><button type="button" aria-describedby="{}">{}</button>'
    '<span role="tooltip" id="{}">{}</span></span>'
)
