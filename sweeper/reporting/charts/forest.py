"""The forest plot: every model's score with its interval."""

from __future__ import annotations

import json
import re

import altair as alt
import vl_convert

from sweeper.findings import words
from sweeper.findings.verdict.headline import Scoreboard
from sweeper.reporting.blocks import Drawing, style_of
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import fit

# Width of the plot area and height of a row in pixels; maximum length of a model's title.
_WIDTH, _ROW_HEIGHT, _TITLE_CHARACTERS = 320, 21, 34
# Maximum number of models in the plot; the table below it has all of them.
MAX_MODELS = 12


def forest(board: Scoreboard, description: str) -> Drawing | None:
    """A row for each model: title, point with interval, and score as text.

    The recommended model is large and bold, baselines are hollow. A bracket joins the models that
    cannot be told apart from the chosen finalist.
    """
    models = board.models[:MAX_MODELS]
    if not models:
        return None
    factor = 100 if board.metric.unit == "points" else 1
    scale = fit([factor * end for model in models for end in model.score.ends], log=False)
    sheet = draw.Sheet()
    rows = [
        draw.row_of(
            model.strategy,
            model.trial,
            place=index,
            title=words.fitted(model.title, _TITLE_CHARACTERS),
            x=factor * model.score.value,
            low=factor * model.score.ends[0],
            high=factor * model.score.ends[1],
            **({} if model.strategy else {"shape": "circle"}),
            fill=draw.PAPER if model.role == "baseline" else style_of(model.strategy).color,
            size=150 if model.role == "recommended" else 55,
            weight="bold" if model.role == "recommended" else "normal",
            figures=words.score_with_interval(model.score, board.metric, label=""),
        )
        for index, model in enumerate(models)
    ]
    height = _ROW_HEIGHT * len(rows)
    row_scale = alt.Scale(domain=[-0.5, len(rows) - 0.5], range=[0, height])
    y = alt.Y("place:Q", scale=row_scale, axis=None)
    unit = "%" if factor == 100 else board.metric.unit
    x = alt.X(
        "x:Q",
        scale=scale.altair(),
        axis=scale.axis(6, title=f"{board.metric.title}, {unit}".rstrip(", "), orient="bottom"),
    )
    ends = {"x": alt.X("low:Q", scale=scale.altair()), "x2": alt.X2("high:Q"), "color": draw.COLOR}
    rules = sheet.chart(rows).mark_rule(strokeWidth=2)
    layers = [
        rules.encode(y=y, description=draw.TRIAL, **ends),
        draw.marks(sheet, rows, x, y, alt.Size("size:Q", scale=None)),
    ]
    for weight in ("bold", "normal"):
        texts = sheet.chart([row for row in rows if row["weight"] == weight])
        style = {"fontWeight": weight, "fontSize": 12, "color": draw.INK}
        for field, align, pixel in (("title", "right", -12), ("figures", "left", _WIDTH + 22)):
            label = texts.mark_text(align=align, **style)
            layers.append(label.encode(x=alt.value(pixel), y=y, text=alt.Text(f"{field}:N")))
    # The pieces of neighbouring rows form one bracket.
    tied_rows = [{"y": n - 0.5, "y2": n + 0.5} for n, model in enumerate(models) if model.tied]
    bracket = sheet.chart(tied_rows).mark_rule(strokeWidth=3, color=draw.MUTED)
    bracket_y = {"y": alt.Y("y:Q", scale=row_scale), "y2": alt.Y2("y2:Q")}
    layers.append(bracket.encode(x=alt.value(_WIDTH + 12), **bracket_y))
    # The page's font may be wider than the one that Vega measures.
    padding = {"left": 26, "right": 22, "top": 4, "bottom": 4}
    plot = alt.layer(*layers, padding=padding)
    return sheet.draw(plot, (_WIDTH, height), board.caption, description, wide=True)


def pictures(plot: Drawing, title: str, colors: dict[str, str]) -> tuple[str, bytes]:
    """The plot as SVG and PNG files, with a title and on the light theme's background.

    Args:
        colors: Values of the stylesheet's variables.

    Raises:
        NotDrawn: The engine failed.
    """
    spec = json.loads(re.sub(r"var\(--([\w-]+)\)", lambda name: colors[name[1]], plot.spec))
    title = draw.escape_spec(title)
    spec["title"] = {"text": title, "subtitle": plot.title, "anchor": "start", "offset": 12}
    spec["config"]["background"] = colors["paper"]
    svg = draw.vega_svg(json.dumps(spec))
    return svg, draw.call_engine(vl_convert.svg_to_png, svg, scale=2)
