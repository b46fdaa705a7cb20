"""Makes the SVG that Vega draws smaller, and prepares it for a page.

Empty groups, repeated roles and fonts go; coordinates keep one decimal, and lines are written as
steps instead of places; a mark's description, which holds a trial number, becomes ``data-trial``;
what neighbours share is said once for all of them.
What is left has no style attribute, no id and no address, so that a strict content policy lets it
be.

The page of 500 trials with 50 points each holds 866 KB, with a bound of 1,000 KB
(test_browser.py). Without relative steps it holds 955 KB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import groupby
from xml.etree import ElementTree

from markupsafe import Markup, escape

from sweeper.visible import shortened, visible

_SVG = "{http://www.w3.org/2000/svg}"
_DROP = frozenset(
    {
        "role",
        "aria-roledescription",
        "aria-hidden",
        "aria-label",
        "pointer-events",
        "font-family",
        "class",
        "style",
        "stroke-miterlimit",
        "clip-path",
    }
)
_PLACE = ("transform", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "stroke-width")
_DEFAULTS = {"opacity": "1", "fill-opacity": "1", "stroke-opacity": "1", "font-size": "11px"}
_STYLE = (
    "fill",
    "stroke",
    "stroke-width",
    "opacity",
    "fill-opacity",
    "stroke-dasharray",
    "text-anchor",
    "font-size",
)
# Nothing drawn, so nothing kept.
_PAINTLESS = {(None, None), ("white", None), ("transparent", None)}

_FLOAT = re.compile(r"-?\d*\.\d+(?:e[-+]?\d+)?")
_NUMBER = r"-?[\d.]+(?:e-?\d+)?"
_POINT = re.compile(rf"([ML])({_NUMBER}),({_NUMBER})")
_POLYLINE = re.compile(rf"(?:[ML]{_NUMBER},{_NUMBER})+Z?")


@dataclass
class _Node:
    tag: str
    attributes: dict[str, str]
    children: list[_Node] = field(default_factory=list)
    text: str = ""


def clean_svg(text: str, title: str, description: str) -> Markup:
    """One drawing for a page.

    Args:
        text: SVG as Vega wrote it.
    """
    root = ElementTree.fromstring(text)
    width, height = root.get("width", "0"), root.get("height", "0")
    body = "".join(_written(node) for node in _joined(_simplified(root, "")))
    title, description = (visible(shortened(said)) for said in (title, description))
    return Markup(
        f'<svg class="chart" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def _simplified(element: ElementTree.Element, group: str) -> list[_Node]:
    """An element's children without what draws nothing; groups that say nothing are opened."""
    found: list[_Node] = []
    for child in element:
        tag = child.tag.removeprefix(_SVG)
        if tag in ("defs", "clipPath") or child.get("display") == "none":
            continue
        role = child.get("class", "")
        inner = role if "role-" in role else group
        node = _Node(tag, _attributes(child, inner), text=child.text or "" if tag == "text" else "")
        node.children = _simplified(child, inner)
        if tag == "g" and not node.attributes:
            found += node.children
        elif _draws(node, child):
            found.append(node)
    return found


def _draws(node: _Node, element: ElementTree.Element) -> bool:
    if node.tag == "g":
        return bool(node.children)
    if node.tag == "text":
        return bool(node.text)
    if element.get("class") == "background" or node.tag == "rect":
        return (element.get("fill"), element.get("stroke")) not in _PAINTLESS
    return node.tag != "path" or bool(element.get("d"))


def _attributes(element: ElementTree.Element, group: str) -> dict[str, str]:
    found: dict[str, str] = {}
    label = element.get("aria-label", "")
    if "role-mark" in group and label.isdecimal():
        found["data-trial"] = label
    for name, value in element.attrib.items():
        if name in _DROP or _DEFAULTS.get(name) == value:
            continue
        short = _decimals(value) if name in _PLACE else value
        if name == "transform" and short in ("translate(0,0)", ""):
            continue
        if name == "stroke-dasharray" and short in ("1,0", ""):
            continue
        found[name] = short
    if "d" in found:
        found["d"] = _shortened(found["d"])
    return found


def _joined(nodes: list[_Node]) -> list[_Node]:
    """Runs of neighbours that look alike, put into a group that says so once."""
    found: list[_Node] = []
    for style, run in groupby(nodes, key=_style):
        members = list(run)
        if len(members) < 3 or not style:
            found += members
            continue
        for member in members:
            for name, _ in style:
                del member.attributes[name]
        found.append(_Node("g", dict(style), members))
    for node in found:
        if node.tag == "g" and not _style(node):
            node.children = _joined(node.children)
    return found


def _style(node: _Node) -> tuple[tuple[str, str], ...]:
    if node.tag == "g":
        return ()
    return tuple((name, node.attributes[name]) for name in _STYLE if name in node.attributes)


def _written(node: _Node) -> str:
    pairs = "".join(f' {name}="{escape(value)}"' for name, value in node.attributes.items())
    inside = str(escape(node.text)) + "".join(_written(child) for child in node.children)
    return f"<{node.tag}{pairs}>{inside}</{node.tag}>" if inside else f"<{node.tag}{pairs}/>"


def _decimals(text: str) -> str:
    """Every number with one decimal.

    >>> _decimals("translate(12.345,0.05)")
    'translate(12.3,.1)'
    """
    return _FLOAT.sub(lambda match: _tenth(float(match[0])), text)


def _tenth(value: float) -> str:
    """A number with one decimal, as short as SVG lets it be.

    >>> _tenth(2.0), _tenth(0.54), _tenth(-0.04)
    ('2', '.5', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    text = "0" if text == "-0" else text
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _shortened(path: str) -> str:
    """A path with one decimal; a line through points as steps, so that no error adds up.

    >>> _shortened("M0,10L10.04,12.5L20,11")
    'M0,10l10,2.5l10-1.5'
    """
    if not _POLYLINE.fullmatch(path):
        return _decimals(path)
    parts, at = [], (0, 0)
    for command, across, down in _POINT.findall(path):
        point = (round(float(across) * 10), round(float(down) * 10))
        if command == "M":
            parts.append(f"M{_tenth(point[0] / 10)},{_tenth(point[1] / 10)}")
        else:
            parts.append(f"l{_tenth((point[0] - at[0]) / 10)},{_tenth((point[1] - at[1]) / 10)}")
        at = point
    return "".join(parts).replace(",-", "-") + ("Z" if path.endswith("Z") else "")
