"""From a page to HTML: templates with autoescape, and a content policy that allows only its own.

The style and the script are part of the file and named by their hashes; nothing else may run, and
nothing may be fetched.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sweeper import resources
from sweeper.reporting.blocks import Page
from sweeper.reporting.charts.draw import drawn
from sweeper.visible import shortened, visible


def render(page: Page) -> str:
    """The whole report as one file.

    Raises:
        NotDrawn: A chart could not be drawn.
    """
    return _file("page.html.j2", ("report.css",), "report.js", page=page)


def render_human(name: str, data: Mapping[str, Any]) -> str:
    """The page on which people rate pairs of answers, as one file.

    Args:
        name: Of the run.
        data: ``format`` and ``page``, which the exported ratings carry, and ``pairs`` with ``id``,
            ``asked``, ``reference``, ``left`` and ``right`` of each.
    """
    pairs = [{key: visible(text) for key, text in pair.items()} for pair in data["pairs"]]
    data = {**data, "pairs": pairs}
    return _file("human.html.j2", ("report.css", "human.css"), "human.js", name=name, data=data)


def _file(template: str, styles: Sequence[str], script: str, **values: object) -> str:
    """A page as one file, with its style and its script."""
    assets, templates = (resources.reports() / name for name in ("assets", "templates"))
    style = "".join((assets / name).read_text(encoding="utf-8") for name in styles)
    code = (assets / script).read_text(encoding="utf-8")
    own = {"policy": policy(style, code), "style": Markup(style), "script": Markup(code)}
    return _environment(templates).get_template(template).render(**own, **values)


def policy(style: str, script: str) -> str:
    """The content policy: this style, this script, nothing else."""
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
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = drawn
    environment.filters["whole"] = _whole
    environment.filters["paired"] = partial(zip, strict=True)
    return environment


def _shown(value: object) -> object:
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(shortened(value))
    return value


def _whole(text: str) -> Markup:
    """Text to copy, which must not be shortened."""
    return escape(visible(text))
