"""Prepares the SVG that Vega draws for a page.

What draws nothing goes, coordinates keep one decimal, and a mark's description, which holds a trial
number, becomes ``data-trial``. What is left has no style attribute, no id and no address, so that a
strict content policy lets it be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby, pairwise
from xml.etree import ElementTree

from markupsafe import Markup, escape

from sweeper.visible import shortened, visible

_SVG = "{http://www.w3.org/2000/svg}"
_DROPPED = frozenset({
    "role", "aria-roledescription", "aria-hidden", "aria-label", "pointer-events", "font-family",
    "class", "style", "stroke-miterlimit", "clip-path",
})  # fmt: skip
_STYLE = (
    "fill", "stroke", "stroke-width", "opacity", "fill-opacity", "stroke-dasharray", "text-anchor",
    "font-size",
)  # fmt: skip
_DEFAULTS = frozenset({
    ("opacity", "1"), ("fill-opacity", "1"), ("stroke-opacity", "1"), ("font-size", "11px"),
    ("transform", "translate(0,0)"), ("transform", ""), ("stroke-dasharray", "1,0"),
    ("stroke-dasharray", ""), ("stroke-width", "1"),
})  # fmt: skip
# Nothing is drawn with these values of fill and stroke.
_INVISIBLE = {(None, None), ("white", None), ("transparent", None)}
_LINE = re.compile(r"M[-\d.]+,[-\d.]+(L[-\d.]+,[-\d.]+)+")
_DECIMALS = re.compile(r"-?\d*\.\d+(?:e[-+]?\d+)?")


def clean_svg(text: str, title: str, description: str) -> Markup:
    """One drawing for a page.

    Args:
        text: SVG as Vega wrote it.
    """
    root = ElementTree.fromstring(text)
    width, height = root.get("width", "0"), root.get("height", "0")
    _clean(root, "")
    body = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    title, description = (visible(shortened(words)) for words in (title, description))
    return Markup(
        f'<svg class="chart" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def _clean(element: ElementTree.Element, group: str) -> None:
    """Clean all that an element holds, and open groups without attributes.

    Args:
        group: Class of the innermost group with a role.
    """
    drawn: list[ElementTree.Element] = []
    for child in element:
        role = child.get("class", "")
        inner = role if "role-" in role else group
        child.tag = child.tag.removeprefix(_SVG)
        _clean(child, inner)
        if _draws(child):
            child.attrib = _attributes(child, inner)
            drawn += child if child.tag == "g" and not child.attrib else [child]
    element[:] = [
        part for style, marks in groupby(drawn, key=_style) for part in _alike(style, list(marks))
    ]


def _style(element: ElementTree.Element) -> dict[str, str]:
    kept = {} if element.tag == "g" else element.attrib
    return {name: value for name, value in kept.items() if name in _STYLE}


def _alike(style: Mapping[str, str], marks: list[ElementTree.Element]) -> list[ElementTree.Element]:
    """Marks of one style, which a group states once for several of them."""
    if not style or len(marks) == 1:
        return marks
    for mark in marks:
        mark.attrib = {name: value for name, value in mark.attrib.items() if name not in style}
    group = ElementTree.Element("g", dict(style))
    group[:] = marks
    return [group]


def _draws(element: ElementTree.Element) -> bool:
    if element.tag in ("defs", "clipPath") or element.get("display") == "none":
        return False
    if element.tag == "g":
        return len(element) > 0
    if element.tag == "text":
        return bool(element.text)
    if element.get("class") == "background" or element.tag == "rect":
        return (element.get("fill"), element.get("stroke")) not in _INVISIBLE
    return element.tag != "path" or bool(element.get("d"))


def _attributes(element: ElementTree.Element, group: str) -> dict[str, str]:
    label = element.get("aria-label", "")
    kept = {"data-trial": label} if "role-mark" in group and label.isdecimal() else {}
    for name, value in element.attrib.items():
        short = value if "opacity" in name else _rounded(value)
        if name == "d" and _LINE.fullmatch(value):
            short = _in_steps(value)
        if name not in _DROPPED and (name, short) not in _DEFAULTS:
            kept[name] = short
    return kept


def _rounded(text: str) -> str:
    return _DECIMALS.sub(lambda match: f"{float(match[0]):.1f}".removesuffix(".0"), text)


def _in_steps(line: str) -> str:
    """A line through points as steps, which are shorter than places.

    >>> _in_steps("M0,10L10.04,12.5L20,11")
    'M0,10l10,2.5l10,-1.5'
    """
    points = [[round(float(place), 1) for place in pair.split(",")] for pair in line[1:].split("L")]
    steps = [(x - x0, y - y0) for (x0, y0), (x, y) in pairwise(points)]
    return _rounded(
        f"M{points[0][0]},{points[0][1]}" + "".join(f"l{x:.1f},{y:.1f}" for x, y in steps)
    )
