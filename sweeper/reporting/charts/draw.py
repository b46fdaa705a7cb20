"""From Altair charts to SVG for a page: one theme for all charts, colours as CSS variables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar

import altair as alt
import vl_convert
from markupsafe import Markup

from sweeper.findings import words
from sweeper.findings.figures import Interval
from sweeper.findings.record import Findings
from sweeper.reporting.blocks import Drawing, LegendEntry
from sweeper.reporting.charts.scales import Scale, dodge
from sweeper.reporting.charts.svg import clean_svg
from sweeper.reporting.palette import look
from sweeper.visible import LABEL_CHARACTERS, shortened, visible

INK = "var(--ink)"
MUTED = "var(--muted)"
RULE = "var(--rule)"
PAPER = "var(--paper)"
# From one label to the next.
LABEL_PIXELS = 14
# Of charts of trials.
HEIGHT = 260

_THEME = {
    "view": alt.ViewConfig(stroke=None),
    "axis": alt.AxisConfig(
        gridColor=RULE,
        gridWidth=1,
        domain=False,
        tickColor=RULE,
        tickSize=4,
        labelColor=MUTED,
        labelFontSize=11,
        labelPadding=4,
        titleColor=MUTED,
        titleFontSize=11,
        titleFontWeight="normal",
        titlePadding=6,
    ),
    "axisX": alt.AxisConfig(domain=True, domainColor=RULE),
    # A title above the axis is read without turning one's head, and is never cut.
    "axisY": alt.AxisConfig(
        titleAngle=0, titleAlign="left", titleBaseline="bottom", titleX=-34, titleY=-8
    ),
    "text": alt.MarkConfig(fontSize=11, color=INK),
    "padding": {"left": 4, "right": 12, "top": 4, "bottom": 4},
    "background": "transparent",
}

_ARROW = "M0,-1L0.9,0.1L0.3,0.1L0.3,1L-0.3,1L-0.3,0.1L-0.9,0.1Z"
_DOWN = "M0,1L0.9,-0.1L0.3,-0.1L0.3,-1L-0.3,-1L-0.3,-0.1L-0.9,-0.1Z"

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]


class Sheet:
    """One drawing: the rows of its layers, and then the drawing of them.

    Rows are named in the spec and added to it at the end, since Altair copies and checks whatever
    it is given many times over.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Rows] = {}

    def chart(self, rows: Rows) -> Any:
        """A chart of these rows, without mark and encoding.

        Texts of users are made visible and short here; in titles, ``draw`` does it.
        """
        name = f"rows-{len(self._rows)}"
        self._rows[name] = [{key: _label(value) for key, value in row.items()} for row in rows]
        return alt.Chart(alt.NamedData(name=name))

    def spec(self, chart: Any) -> dict[str, Any]:
        # Tests check the specs against the schema; to do so here would take longer than drawing.
        spec: dict[str, Any] = drawable(chart.configure(**_THEME).to_dict(validate=False))
        return {**spec, "datasets": self._rows}

    def draw(
        self, chart: Any, size: tuple[int, int], title: str, description: str, *, wide: bool = False
    ) -> Drawing:
        """The drawing, which ``drawn`` turns into SVG.

        Args:
            size: Width and height of the area within the axes, in pixels.
            description: What it says, for people who do not see it.
        """
        width, height = size
        spec = self.spec(chart.properties(width=width, height=height))
        return Drawing(json.dumps(spec), title, description, wide)


def _label(value: Any) -> Any:
    return shortened(visible(value), LABEL_CHARACTERS) if isinstance(value, str) else value


def drawable(value: Any) -> Any:
    """A spec whose texts are visible: some characters end the engine, and the process with it.

    Vega puts titles into expressions, which read a backslash or a quote as their own.
    """
    if isinstance(value, str):
        return visible(value).replace("\\", "\N{SET MINUS}").replace('"', "\N{DOUBLE PRIME}")
    if isinstance(value, Mapping):
        return {key: drawable(item) for key, item in value.items()}
    return [*map(drawable, value)] if isinstance(value, list | tuple) else value


class NotDrawn(Exception):
    """The drawing engine refused a chart."""


def drawn(drawing: Drawing) -> Markup:
    """The SVG of one drawing, for a page.

    Raises:
        NotDrawn: The engine raised.
    """
    return clean_svg(svg(drawing.spec), drawing.title, drawing.description)


@lru_cache(maxsize=64)
def svg(spec: str) -> str:
    """Vega's drawing. A report is rewritten after every trial, and not every chart changes."""
    return by_engine(vl_convert.vegalite_to_svg, spec)


def by_engine(convert: Callable[..., T], text: str, **options: Any) -> T:
    """What the drawing engine makes of a text.

    The engine (V8) ends the whole process where it cannot reserve address space, so whoever must
    not end calls this in a child process.

    Raises:
        NotDrawn: The engine raised.
    """
    try:
        return convert(text, **options)
    except BaseException as error:
        # A panic of the engine's Rust code is no Exception and has no class to import.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise NotDrawn(line[:300]) from error


def row_of(strategy: str, trial: int | None, /, **fields: Any) -> dict[str, Any]:
    """A row about one trial, in the look of its strategy."""
    style = look(strategy)
    mark = {"color": style.color, "shape": style.shape, "dash": list(style.dash)}
    return {**mark, "trial": "" if trial is None else str(trial), **fields}


def clipped_ends(interval: Interval, scale: Scale) -> dict[str, float]:
    """``low`` and ``high`` of a row, cut to the ends of the axis."""
    low, high = interval.ends
    return {"low": scale.clip(low), "high": scale.clip(high)}


# Channels whose values stand in the rows as they are to be drawn; see ``row_of``.
COLOR, STROKE = alt.Color("color:N", scale=None), alt.Stroke("color:N", scale=None)
SHAPE, DASH = alt.Shape("shape:N", scale=None), alt.StrokeDash("dash:N", scale=None)


def whiskers(sheet: Sheet, rows: Rows, x: Any, scale: Scale) -> Any:
    """Thin rules from ``low`` to ``high`` of each row."""
    low = alt.Y("low:Q", scale=scale.altair())
    rules = sheet.chart(rows).mark_rule(strokeWidth=1)
    return rules.encode(x=x, y=low, y2="high:Q", color=COLOR, description="trial:N")


def lines(sheet: Sheet, rows: Rows, x: Any, y: Any, detail: str = "trial", **style: Any) -> Any:
    """A line for each value of ``detail``, in the colour and dash that its rows have."""
    line = sheet.chart(rows).mark_line(**style)
    look_ = {"color": COLOR, "strokeDash": DASH, "description": "trial:N"}
    return line.encode(x=x, y=y, detail=f"{detail}:N", **look_)


def marks(sheet: Sheet, rows: Rows, x: Any, y: Any, size: Any, **more: Any) -> Any:
    """A mark for each row, in the shape, outline and fill that the row has."""
    points = sheet.chart(rows).mark_point(opacity=1, strokeWidth=1.5)
    size = alt.value(size) if isinstance(size, int) else size
    fill = alt.Fill("fill:N", scale=None)
    look_ = {"stroke": STROKE, "fill": fill, "shape": SHAPE, "description": "trial:N"}
    return points.encode(x=x, y=y, size=size, **look_, **more)


def dots(sheet: Sheet, rows: Rows, x: Any, y: Any, size: int, opacity: float = 1) -> Any:
    """A filled mark for each row, in the shape and colour that the row has."""
    points = sheet.chart(rows).mark_point(filled=True, size=size, opacity=opacity)
    return points.encode(x=x, y=y, color=COLOR, shape=SHAPE, description="trial:N")


def end_labels(
    sheet: Sheet, rows: Rows, x: Any, scale: Scale, height: int, up: float = 0, **style: Any
) -> Any:
    """The ``label`` of each row beside its ``y``, moved so that labels do not overlap.

    Args:
        scale: Of ``y``.
        height: Of the chart, in pixels.
        up: Pixels by which all are moved up.
    """
    places = dodge([scale.place(scale.clip(row["y"])) for row in rows], LABEL_PIXELS / height)
    placed = [
        {**row, "pixel": (1 - place) * height - up} for row, place in zip(rows, places, strict=True)
    ]
    text = sheet.chart(placed).mark_text(**{"align": "left", "baseline": "middle", **style})
    return text.encode(x=x, y=alt.Y("pixel:Q", scale=None, axis=None), text="label:N")


def vertical_rule(
    sheet: Sheet, x: Any, value: float, label: str, at: int = 6, left: bool = False, **style: Any
) -> Any:
    """A rule at one value of ``x`` with its label.

    Args:
        at: Where the label stands, in pixels from the top.
        left: Whether it stands left of the rule.
    """
    row = [{"x": value, "label": label}]
    rule = sheet.chart(row).mark_rule(color=MUTED, **style).encode(x=x)
    side = {"align": "right", "dx": -4} if left else {"align": "left", "dx": 4}
    text = sheet.chart(row).mark_text(color=MUTED, **side)
    return rule + text.encode(x=x, y=alt.value(at), text="label:N")


def inside(rows: Sequence[dict[str, Any]], scale: Scale) -> list[dict[str, Any]]:
    """The rows whose ``y`` lies on the axis."""
    return [row for row in rows if not scale.off(row["y"])]


def clipped(rows: Rows, scale: Scale) -> list[dict[str, Any]]:
    """The rows, their ``y`` cut to the ends of the axis, so that medians stay what they are."""
    return [{**row, "y": scale.clip(row["y"])} for row in rows]


def arrows(sheet: Sheet, rows: Rows, x: Any, y: Any, scale: Scale) -> Any:
    """At the edge, an arrow for each row whose ``y`` lies beyond it."""
    edge, shape = (scale.low, _DOWN) if scale.off_low else (scale.high, _ARROW)
    beyond = [{**row, "y": edge} for row in rows if scale.off(row["y"])]
    return (
        sheet.chart(beyond)
        .mark_point(filled=True, shape=shape, size=60, opacity=1)
        .encode(x=x, y=y, color=COLOR, description="trial:N")
    )


def legend(strategies: Sequence[str], *more: LegendEntry) -> tuple[LegendEntry, ...]:
    """Every strategy of a chart with its look, then other signs."""
    return (
        *(LegendEntry(words.short(s), look(s).css, look(s).glyph) for s in strategies),
        *more,
    )


def value_title(findings: Findings) -> str:
    """The vertical axis of every chart of trials."""
    metric = findings.objective
    parts = words.on_validation(metric), "" if metric.unit == "points" else metric.unit
    return f"{', '.join(filter(None, parts))} ({metric.direction})"
