"""Makes the SVG that Vega draws small and fit for a page: knows SVG, nothing of any chart.

Empty groups, repeated roles and fonts go; coordinates keep one decimal; a mark's description, which
holds a trial number, becomes ``data-trial``. What is left has no style attribute, no id and no
address, so that a strict content policy lets it be.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup, escape

_SVG = "{http://www.w3.org/2000/svg}"
_NUMBER = re.compile(r"-?\d*\.\d+(?:e[-+]?\d+)?")
_POINT = re.compile(r"([ML])(-?[\d.]+(?:e-?\d+)?),(-?[\d.]+(?:e-?\d+)?)")
_POLYLINE = re.compile(r"(?:[ML]-?[\d.]+(?:e-?\d+)?,-?[\d.]+(?:e-?\d+)?)+")
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
_ROUNDED = ("d", "transform", "x", "y", "x1", "x2", "y1", "y2", "width", "height", "stroke-width")
_DEFAULTS = {"opacity": "1", "fill-opacity": "1", "stroke-opacity": "1", "font-size": "11px"}


def clean_svg(text: str, title: str, description: str) -> Markup:
    """One drawing for a page.

    Args:
        text: SVG as Vega wrote it.
        title: What the chart shows, for people who do not see it.
        description: What it says.
    """
    root = ElementTree.fromstring(text)
    width, height = root.get("width", "0"), root.get("height", "0")
    body = "".join(_write(child, "") for child in root)
    return Markup(
        f'<svg class="chart" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def _write(element: ElementTree.Element, group: str) -> str:
    tag = element.tag.removeprefix(_SVG)
    if tag in ("defs", "clipPath") or element.get("display") == "none":
        return ""
    role = element.get("class", "")
    group = role if "role-" in role else group
    attributes = _attributes(element, group)
    inside = escape(element.text) if tag == "text" and element.text else ""
    inside += "".join(_write(child, group) for child in element)
    if tag == "g":
        return _group(attributes, inside)
    if _invisible(tag, element, inside):
        return ""
    written = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{written}>{inside}</{tag}>" if inside else f"<{tag}{written}/>"


def _group(attributes: dict[str, str], inside: str) -> str:
    if not inside or not attributes:
        return inside
    written = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
    return f"<g{written}>{inside}</g>"


def _invisible(tag: str, element: ElementTree.Element, inside: str) -> bool:
    if tag == "text":
        return not inside
    paint = element.get("fill"), element.get("stroke")
    if element.get("class") == "background" or tag == "rect":
        return paint in ((None, None), ("white", None), ("transparent", None))
    return tag == "path" and not element.get("d")


def _attributes(element: ElementTree.Element, group: str) -> dict[str, str]:
    found: dict[str, str] = {}
    label = element.get("aria-label", "")
    if "role-mark" in group and label.isdecimal():
        found["data-trial"] = label
    for name, value in element.attrib.items():
        if name in _DROP or _DEFAULTS.get(name) == value:
            continue
        short = _round(name, value) if name in _ROUNDED else value
        if name == "transform" and short in ("translate(0,0)", ""):
            continue
        if name == "stroke-dasharray" and short in ("1,0", ""):
            continue
        found[name] = short
    return found


def _round(name: str, value: str) -> str:
    if name == "d" and len(value) > 80 and _POLYLINE.fullmatch(value):
        return _relative(value)
    return _NUMBER.sub(lambda match: _tenth(float(match[0])), value)


def _relative(path: str) -> str:
    """A line through many points as steps of tenths: no error adds up, a third is saved."""
    parts, at = [], (0, 0)
    for command, x, y in _POINT.findall(path):
        point = (round(float(x) * 10), round(float(y) * 10))
        if command == "M":
            parts.append(f"M{_tenth(point[0] / 10)},{_tenth(point[1] / 10)}")
        else:
            step = point[0] - at[0], point[1] - at[1]
            parts.append(f"l{_tenth(step[0] / 10)},{_tenth(step[1] / 10)}")
        at = point
    return "".join(parts).replace(",-", "-")


def _tenth(value: float) -> str:
    text = f"{value:.1f}".removesuffix(".0")
    text = "0" if text in ("-0", "") else text
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
