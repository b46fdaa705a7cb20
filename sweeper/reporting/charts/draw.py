"""Turns Altair charts into SVG for a page, with one theme and with colours as CSS variables.

Invisible elements of Vega's SVG are removed, coordinates are rounded to one decimal, and a mark's
description, which holds a trial number, becomes ``data-trial``. The SVG has no style attribute, id
or address, so that a strict content security policy allows it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeVar
from xml.etree import ElementTree

import altair as alt
import vl_convert
from markupsafe import Markup, escape

from sweeper.findings import words
from sweeper.findings.findings import Findings, Interval
from sweeper.reporting.blocks import Drawing, LegendEntry, style_of
from sweeper.reporting.charts.scales import Scale, spread_labels
from sweeper.safe_text import LABEL_CHARACTERS, shortened, visible
from sweeper.traits.traits import StrategyOnModel
from sweeper.trials import Trial

# Colours of the stylesheet: text and lines, labels, grid, background.
INK = "var(--ink)"
MUTED = "var(--muted)"
RULE = "var(--rule)"
PAPER = "var(--paper)"
# Smallest distance of two labels, in pixels.
LABEL_PIXELS = 14
# Height of the plot area of charts of trials, in pixels.
HEIGHT = 260
# Maximum number of trials beyond the axis that a caption lists.
_MAX_LISTED = 4

_THEME = alt.Config(
    view=alt.ViewConfig(stroke=None),
    axis=alt.AxisConfig(
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
    axisX=alt.AxisConfig(domain=True, domainColor=RULE),
    # A horizontal title above the axis is easy to read and never cut.
    axisY=alt.AxisConfig(
        titleAngle=0, titleAlign="left", titleBaseline="bottom", titleX=-34, titleY=-8
    ),
    text=alt.MarkConfig(fontSize=11, color=INK),
    padding={"left": 4, "right": 12, "top": 4, "bottom": 4},
    background="transparent",
)

# Arrows as SVG paths.
_UP = "M0,-1L0.9,0.1L0.3,0.1L0.3,1L-0.3,1L-0.3,0.1L-0.9,0.1Z"
_DOWN = "M0,1L0.9,-0.1L0.3,-0.1L0.3,-1L-0.3,-1L-0.3,-0.1L-0.9,-0.1Z"

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]


class Sheet:
    """The data of a chart in the making, from which its Vega-Lite spec is written.

    Layers refer to their rows by name; ``spec`` adds the rows at the end, since Altair would copy
    and check them many times.
    """

    def __init__(self) -> None:
        self._rows: dict[str, Rows] = {}

    def chart(self, rows: Rows) -> Any:
        """A chart of these rows, without mark and encoding.

        All texts of the rows are made safe and shortened, since users may have written them;
        ``draw`` does it for titles.
        """
        name = f"rows-{len(self._rows)}"
        self._rows[name] = [{key: _safe_value(value) for key, value in row.items()} for row in rows]
        return alt.Chart(alt.NamedData(name=name))

    def spec(self, chart: Any) -> dict[str, Any]:
        """The Vega-Lite spec of a chart, with the rows of all layers."""
        # Only tests check specs against the schema: it takes longer than rendering.
        chart.config = _THEME
        spec: dict[str, Any] = escape_spec(chart.to_dict(validate=False))
        return {**spec, "datasets": self._rows}

    def draw(
        self, chart: Any, size: tuple[int, int], title: str, description: str, *, wide: bool = False
    ) -> Drawing:
        """The chart with its spec, which ``render_svg`` turns into SVG.

        Args:
            size: Width and height of the area within the axes, in pixels.
            description: A text alternative to the chart.
        """
        # Set as attributes to save time: ``properties`` and ``configure`` copy all layers.
        chart.width, chart.height = size
        return Drawing(json.dumps(self.spec(chart)), title, description, wide)


def _safe_value(value: Any) -> Any:
    """A value of a row; a text is shortened, and its invisible characters are escaped."""
    return shortened(visible(value), LABEL_CHARACTERS) if isinstance(value, str) else value


def escape_spec(value: Any) -> Any:
    """A spec whose texts have look-alikes for backslashes and quotes, and no invisible characters.

    Some of these would crash the engine, and with it the process. Vega puts titles into
    expressions, where backslashes and quotes have a meaning.
    """
    if isinstance(value, str):
        return visible(value).replace("\\", "\N{SET MINUS}").replace('"', "\N{DOUBLE PRIME}")
    if isinstance(value, Mapping):
        return {key: escape_spec(item) for key, item in value.items()}
    return [*map(escape_spec, value)] if isinstance(value, list | tuple) else value


class NotDrawn(Exception):
    """The drawing engine failed on a chart."""


def render_svg(drawing: Drawing) -> Markup:
    """The SVG of a chart, for a page.

    Raises:
        NotDrawn: The engine failed.
    """
    return clean_svg(vega_svg(drawing.spec), drawing.title, drawing.description)


@lru_cache(maxsize=64)
def vega_svg(spec: str) -> str:
    """Vega's SVG; cached, as a report is rewritten after every trial and most charts stay equal."""
    return call_engine(vl_convert.vegalite_to_svg, spec)


def call_engine(convert: Callable[..., T], text: str, **options: Any) -> T:
    """Call a function of vl_convert, and turn its failures into ``NotDrawn``.

    The engine (V8) ends the whole process if it cannot reserve address space; a process that has to
    survive calls this in a child process.

    Raises:
        NotDrawn: The engine failed.
    """
    try:
        return convert(text, **options)
    except BaseException as error:
        # A panic of the engine's Rust code is no Exception and has no class to import.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        line = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise NotDrawn(line[:300]) from error


def row_of(strategy: StrategyOnModel, trial: int | None, /, **fields: Any) -> dict[str, Any]:
    """A row about one trial, with the style of its strategy."""
    style = style_of(strategy)
    mark = {"color": style.color, "shape": style.shape, "dash": list(style.dash)}
    return {**mark, "trial": "" if trial is None else str(trial), **fields}


def clipped_ends(interval: Interval, scale: Scale) -> dict[str, float]:
    """The fields ``low`` and ``high`` of a row: the interval, cut to the axis."""
    low, high = interval.ends
    return {"low": scale.clip(low), "high": scale.clip(high)}


# Channels whose values in the rows are used without a scale; see ``row_of``.
COLOR, STROKE = alt.Color("color:N", scale=None), alt.Stroke("color:N", scale=None)
SHAPE, DASH = alt.Shape("shape:N", scale=None), alt.StrokeDash("dash:N", scale=None)
# Channels of other fields of rows, made once since Altair takes long to parse "trial:N".
TRIAL, LABEL, HIGH = alt.Description("trial:N"), alt.Text("label:N"), alt.Y2("high:Q")


def whiskers(sheet: Sheet, rows: Rows, x: Any, scale: Scale) -> Any:
    """A thin vertical rule from ``low`` to ``high`` for each row."""
    low = alt.Y("low:Q", scale=scale.altair())
    rules = sheet.chart(rows).mark_rule(strokeWidth=1)
    return rules.encode(x=x, y=low, y2=HIGH, color=COLOR, description=TRIAL)


def lines(sheet: Sheet, rows: Rows, x: Any, y: Any, detail: str = "trial", **style: Any) -> Any:
    """A line for each value of ``detail``, with the colour and dash of its rows."""
    line = sheet.chart(rows).mark_line(**style)
    style_encoding = {"color": COLOR, "strokeDash": DASH, "description": TRIAL}
    return line.encode(x=x, y=y, detail=alt.Detail(f"{detail}:N"), **style_encoding)


def marks(sheet: Sheet, rows: Rows, x: Any, y: Any, size: Any, **more: Any) -> Any:
    """A mark for each row, with the row's shape, outline and fill."""
    points = sheet.chart(rows).mark_point(opacity=1, strokeWidth=1.5)
    size = alt.value(size) if isinstance(size, int) else size
    fill = alt.Fill("fill:N", scale=None)
    style_encoding = {"stroke": STROKE, "fill": fill, "shape": SHAPE, "description": TRIAL}
    return points.encode(x=x, y=y, size=size, **style_encoding, **more)


def dots(sheet: Sheet, rows: Rows, x: Any, y: Any, size: int, opacity: float = 1) -> Any:
    """A filled mark for each row, with the row's shape and colour."""
    points = sheet.chart(rows).mark_point(filled=True, size=size, opacity=opacity)
    return points.encode(x=x, y=y, color=COLOR, shape=SHAPE, description=TRIAL)


def end_labels(
    sheet: Sheet, rows: Rows, x: Any, scale: Scale, height: int, up: float = 0, **style: Any
) -> Any:
    """The ``label`` of each row at its ``y``, moved so that labels do not overlap.

    Args:
        scale: The scale of ``y``.
        height: Height of the plot area, in pixels.
        up: Pixels by which all labels are moved up.
    """
    positions = spread_labels(
        [scale.place(scale.clip(row["y"])) for row in rows], LABEL_PIXELS / height
    )
    label_rows = [
        {**row, "pixel": (1 - position) * height - up}
        for row, position in zip(rows, positions, strict=True)
    ]
    text = sheet.chart(label_rows).mark_text(**{"align": "left", "baseline": "middle", **style})
    return text.encode(x=x, y=alt.Y("pixel:Q", scale=None, axis=None), text=LABEL)


def vertical_rule(
    sheet: Sheet, x: Any, value: float, label: str, at: int = 6, left: bool = False, **style: Any
) -> Any:
    """A rule at one value of ``x`` with its label.

    Args:
        at: Distance of the label from the top, in pixels.
        left: Whether the label is to the left of the rule.
    """
    row = [{"x": value, "label": label}]
    rule = sheet.chart(row).mark_rule(color=MUTED, **style).encode(x=x)
    side = {"align": "right", "dx": -4} if left else {"align": "left", "dx": 4}
    text = sheet.chart(row).mark_text(color=MUTED, **side)
    return rule + text.encode(x=x, y=alt.value(at), text=LABEL)


def inside(rows: Sequence[dict[str, Any]], scale: Scale) -> list[dict[str, Any]]:
    """The rows whose ``y`` is not beyond the cut end of the axis."""
    return [row for row in rows if not scale.off(row["y"])]


def clipped(rows: Rows, scale: Scale) -> list[dict[str, Any]]:
    """The rows with ``y`` clipped to the axis: dropping rows instead would change medians."""
    return [{**row, "y": scale.clip(row["y"])} for row in rows]


def arrows(sheet: Sheet, rows: Rows, x: Any, y: Any, scale: Scale) -> Any:
    """An arrow at the cut end of the axis for each row whose ``y`` is beyond it.

    Only one end of a scale is cut, that of poor values: see ``Scale``.
    """
    edge, shape = (scale.low, _DOWN) if scale.is_cut_below else (scale.high, _UP)
    clipped_rows = [{**row, "y": edge} for row in rows if scale.off(row["y"])]
    return (
        sheet.chart(clipped_rows)
        .mark_point(filled=True, shape=shape, size=60, opacity=1)
        .encode(x=x, y=y, color=COLOR, description=TRIAL)
    )


def legend(strategies: Sequence[StrategyOnModel], *more: LegendEntry) -> tuple[LegendEntry, ...]:
    """A legend of strategies with their styles, then of other symbols."""
    return (
        *(LegendEntry(words.short(s), style_of(s).css, style_of(s).glyph) for s in strategies),
        *more,
    )


def value_title(findings: Findings) -> str:
    """The title of the vertical axis in charts of trials."""
    metric = findings.objective
    parts = words.on_validation(metric), "" if metric.unit == "points" else metric.unit
    return f"{', '.join(filter(None, parts))} ({metric.direction_in_words})"


def off_scale_sentence(findings: Findings, trials: Sequence[Trial], scale: Scale) -> str:
    """A caption's sentence on the trials beyond the axis, worst first; empty if there are none."""
    metric = findings.objective
    outside = [(t.value, t.number) for t in trials if t.value is not None and scale.off(t.value)]
    outside.sort(key=lambda pair: -metric.as_cost(pair[0]))
    if not outside:
        return ""
    listed = [f"#{number} {words.score(value, metric)}" for value, number in outside[:_MAX_LISTED]]
    side = "Below" if scale.is_cut_below else "Above"
    rest = f" and {len(outside) - _MAX_LISTED} more" if len(outside) > _MAX_LISTED else ""
    return f" {side} the drawn range, with an arrow at its edge: {', '.join(listed)}{rest}."


_SVG = "{http://www.w3.org/2000/svg}"
# Attributes that a page does not need, or that its content security policy refuses (``style``).
_DROPPED_ATTRIBUTES = frozenset({
    "role", "aria-roledescription", "aria-hidden", "aria-label", "pointer-events", "font-family",
    "class", "style", "stroke-miterlimit", "clip-path",
})  # fmt: skip
# Default values of attributes, which are left out. An opacity of 1 must be left out: in print, the
# stylesheet hides the lines of learning curves that have an ``opacity`` attribute.
_DEFAULTS = frozenset({
    ("opacity", "1"), ("stroke-dasharray", "1,0"), ("stroke-width", "1"), ("font-size", "11px"),
    ("transform", "translate(0,0)"),
})  # fmt: skip
_DECIMALS = re.compile(r"-?\d*\.\d+(?:e[-+]?\d+)?")


def clean_svg(text: str, title: str, description: str) -> Markup:
    """Vega's SVG for a page: a mark's trial is in ``data-trial``, numbers have one decimal.

    Args:
        text: The SVG that Vega wrote.
    """
    root = ElementTree.fromstring(text)
    width, height = root.get("width", "0"), root.get("height", "0")
    for element in root.iter():
        element[:] = [child for child in element if _is_drawn(child)]
        element.tag, trial = element.tag.removeprefix(_SVG), element.get("aria-label", "")
        element.attrib = ({"data-trial": trial} if trial.isdecimal() else {}) | {
            # One decimal would distort an opacity such as 0.45.
            name: value if "opacity" in name else _DECIMALS.sub(_rounded, value)
            for name, value in element.items()
            if name not in _DROPPED_ATTRIBUTES and (name, value) not in _DEFAULTS
        }
    body = "".join(ElementTree.tostring(child, encoding="unicode") for child in root)
    title, description = visible(shortened(title)), visible(shortened(description))
    return Markup(
        f'<svg class="chart" role="img" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>"
    )


def _is_drawn(element: ElementTree.Element) -> bool:
    """Whether an element is visible. Vega's ``rect`` is the background; marks are ``path``."""
    is_hidden = element.get("display") == "none" or element.get("class") == "background"
    return not is_hidden and element.tag not in (f"{_SVG}rect", f"{_SVG}defs")


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
