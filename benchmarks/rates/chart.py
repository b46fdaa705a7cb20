"""The league as a chart: the regret of every rule on every source, as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from xml.sax.saxutils import escape

_LEFT, _WIDTH, _ROW, _HEAD = 140, 620, 22, 54
# The ends of the logarithmic axis, in percent.
_LOW, _HIGH = 0.05, 100.0
_MARKS = ("#0072b2", "#d55e00", "#009e73")
_TITLES = {"lora": "LoRA", "full": "full fine-tuning"}


def chart(
    leagues: Mapping[str, Mapping[str, Mapping[str, float]]], titles: Mapping[str, str]
) -> str:
    """One panel a strategy, one row a rule, one mark a source; the best rule first."""
    body, top = [_legend(titles)], 30
    for strategy, scores in leagues.items():
        body.append(
            _text(_LEFT, top + 18, f"{_TITLES[strategy]}: regret in % of the loss", bold=True)
        )
        bottom = top + _HEAD + _ROW * len(scores)
        for tick in (0.1, 1, 10, 100):
            x = _x(tick)
            body.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 40}" y2="{bottom - 8}" stroke="#ddd"/>'
            )
            body.append(_text(x, top + 36, f"{tick:g}", anchor="middle"))
        for row, (name, of_rule) in enumerate(scores.items()):
            y = top + _HEAD + _ROW * row
            body.append(_text(_LEFT - 10, y + 4, name, anchor="end", bold=name == "sweeper"))
            for color, source in zip(_MARKS, titles, strict=False):
                if source in of_rule:
                    percent = 100 * of_rule[source]
                    note = escape(f"{name}, {titles[source]}: {percent:.2f}%")
                    mark = f'cx="{_x(percent):.1f}" cy="{y}" r="5" fill="{color}"'
                    body.append(f"<circle {mark}><title>{note}</title></circle>")
        top = bottom + 10
    size = f'width="{_LEFT + _WIDTH + 30}" height="{top}"'
    style = 'font-family="sans-serif" font-size="13"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _x(percent: float) -> float:
    share = math.log(max(percent, _LOW) / _LOW) / math.log(_HIGH / _LOW)
    return _LEFT + _WIDTH * share


def _legend(titles: Mapping[str, str]) -> str:
    marks = [
        f'<circle cx="{_LEFT + 110 * number}" cy="16" r="5" fill="{color}"/>'
        + _text(_LEFT + 10 + 110 * number, 20, title)
        for number, (color, title) in enumerate(zip(_MARKS, titles.values(), strict=False))
    ]
    return "\n".join(marks)


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
