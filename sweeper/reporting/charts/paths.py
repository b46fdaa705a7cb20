"""Shorter ways to write the same SVG path: tenths of a pixel, steps instead of places."""

from __future__ import annotations

import re

_FLOAT = re.compile(r"-?\d*\.\d+(?:e[-+]?\d+)?")
_NUMBER = r"-?[\d.]+(?:e-?\d+)?"
_POINT = re.compile(rf"([ML])({_NUMBER}),({_NUMBER})")
_POLYLINE = re.compile(rf"(?:[ML]{_NUMBER},{_NUMBER})+Z?")
_CIRCLE = re.compile(rf"M({_NUMBER}),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
_STEPS = re.compile(rf"M({_NUMBER}),({_NUMBER})((?:[hv]{_NUMBER})+)Z")
_TRANSLATE = re.compile(rf"translate\(({_NUMBER}),({_NUMBER})\)")


def decimals(text: str) -> str:
    """Every number with one decimal.

    >>> decimals("translate(12.345,0.05)")
    'translate(12.3,.1)'
    """
    return _FLOAT.sub(lambda match: tenth(float(match[0])), text)


def tenth(value: float) -> str:
    """A number with one decimal, as short as SVG lets it be.

    >>> tenth(2.0), tenth(0.54), tenth(-0.04)
    ('2', '.5', '0')
    """
    text = f"{value:.1f}".removesuffix(".0")
    text = "0" if text == "-0" else text
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def shortened(path: str) -> str:
    """A path with one decimal; a line through points as steps, so that no error adds up.

    >>> shortened("M0,10L10.04,12.5L20,11")
    'M0,10l10,2.5l10-1.5'
    """
    if _POLYLINE.fullmatch(path):
        return _polyline(path, 0.0, 0.0)
    return decimals(path)


def circle(path: str, transform: str) -> dict[str, str] | None:
    """Centre and radius of a round symbol; None if it is no circle.

    >>> circle("M2.5,0A2.5,2.5,0,1,1,-2.5,0A2.5,2.5,0,1,1,2.5,0", "translate(10,20)")
    {'cx': '10', 'cy': '20', 'r': '2.5'}
    """
    at, round_ = _TRANSLATE.fullmatch(transform), _CIRCLE.fullmatch(path)
    if at is None or round_ is None:
        return None
    x, y, radius = float(at[1]), float(at[2]), float(round_[1])
    return {"cx": tenth(x), "cy": tenth(y), "r": tenth(radius)}


def placed(path: str, transform: str) -> str | None:
    """A symbol drawn where its transform puts it, without the transform; None if it is no symbol.

    >>> placed("M-3,-3h6v6h-6Z", "translate(10,20)")
    'M7,17h6v6h-6Z'
    """
    at = _TRANSLATE.fullmatch(transform)
    if at is None:
        return None
    x, y = float(at[1]), float(at[2])
    if steps := _STEPS.fullmatch(path):
        start = f"M{tenth(x + float(steps[1]))},{tenth(y + float(steps[2]))}"
        return f"{start}{decimals(steps[3])}Z"
    if _POLYLINE.fullmatch(path):
        return _polyline(path, x, y)
    return None


def _polyline(path: str, x: float, y: float) -> str:
    parts, at = [], (0, 0)
    for command, across, down in _POINT.findall(path):
        point = (round((float(across) + x) * 10), round((float(down) + y) * 10))
        if command == "M":
            parts.append(f"M{tenth(point[0] / 10)},{tenth(point[1] / 10)}")
        else:
            parts.append(f"l{tenth((point[0] - at[0]) / 10)},{tenth((point[1] - at[1]) / 10)}")
        at = point
    return "".join(parts).replace(",-", "-") + ("Z" if path.endswith("Z") else "")
