"""Charts: valid specs, small SVG, labels apart, nothing drawn that was not measured."""

import itertools
import json
import math
import re
from typing import get_args

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper import resources
from sweeper.reporting.blocks import GLYPHS, style_of
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import fit, focus, spread_labels
from sweeper.reporting.compose import page
from sweeper.reporting.sections import curves
from sweeper.traits.traits import COLORS, Shape, StrategyOnModel, known_strategies, traits_of
from sweeper.trials import RungReport


def test_every_spec_is_valid_vega_lite(report, monkeypatch):
    seen = []
    spec = draw.Sheet.spec

    def checked(sheet, chart):
        made = spec(sheet, chart)
        alt.Chart.from_dict(json.loads(json.dumps(made)))
        seen.append(made)
        return made

    monkeypatch.setattr(draw.Sheet, "spec", checked)
    for shape in (
        {"trials": 24, "ends": {4: "FAIL"}, "strategies": ("lora",), "prune": False},
        {"name": "text", "trials": 4, "task": "instruction", "strategies": ("lora", "full")},
    ):
        page(report(**shape))
    assert len(seen) > 8


def test_texts_of_users_are_only_ever_data(report, monkeypatch):
    mark = "'+alert(1)+'"
    spec = draw.Sheet.spec

    def checked(sheet, chart):
        made = spec(sheet, chart)
        rest = {name: value for name, value in made.items() if name != "datasets"}
        assert mark not in json.dumps(rest)
        return made

    monkeypatch.setattr(draw.Sheet, "spec", checked)
    page(report(trials=12, hostile=mark, prune=False))


def test_a_gap_in_a_curve_is_not_joined(report):
    found = report(trials=6, prune=False)
    row = found.findings.trials[0]
    points = list(row.rungs)
    points[3] = points[3].model_copy(update={"validation_loss": math.nan})
    broken = row.model_copy(update={"rungs": tuple(points)})
    findings = found.findings.model_copy(update={"trials": (broken, *found.findings.trials[1:])})
    whole = drawn_lines(draw.render_svg(curves.curves(found.findings, "")), 0)
    parts = drawn_lines(draw.render_svg(curves.curves(findings, "")), 0)
    assert max(line.count("M") for line in whole) == 1
    assert max(line.count("M") for line in parts) == 2


def drawn_lines(text, trial):
    lines = [part.split('"')[0] for part in text.split(' d="')[1:]]
    owners = [part.split('data-trial="')[-1].split('"')[0] for part in text.split(' d="')[:-1]]
    return [line for line, owner in zip(lines, owners, strict=True) if owner == str(trial)]


def test_above_six_hundred_curves_the_best_and_a_sample_of_each_strategy_are_drawn(report):
    found = report(trials=12).findings
    rows = []
    for number in range(1500):
        row = found.trials[number % 12]
        point = RungReport(rung=1, optimizer_steps=1, tokens=1, epochs=1, validation_loss=1.0)
        config = row.config.model_copy(update={"number": number})
        rows.append(row.model_copy(update={"config": config, "rungs": (point,)}))
    best = {s.best_trial for s in found.strategies if s.best_trial is not None}
    shown = curves.drawn_trials(found.model_copy(update={"trials": tuple(rows)}))
    assert len(shown) <= curves.MAX_CURVES
    assert best <= {row.number for row in shown}
    assert {row.strategy for row in shown} == {row.strategy for row in rows}


@pytest.mark.parametrize(
    ("values", "log"),
    [([0.1, 0.9], False), ([0.1, 1.2], True), ([-1.0, 20.0], False), ([3.0], False)],
)
def test_an_axis_is_logarithmic_where_it_spans_more_than_ten_times(values, log):
    assert fit(values).log == log


@given(
    st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20), st.sampled_from([True, False, None])
)
def test_a_scale_holds_its_values_and_has_ticks_inside(values, log):
    scale = fit(values, log)
    assert scale.low < scale.high
    assert all(scale.low <= value <= scale.high for value in values)
    axis = scale.axis().to_dict(validate=False)
    assert 1 <= len(axis["values"]) <= 7
    near = pytest.approx
    for tick in axis["values"]:
        assert scale.low <= tick <= scale.high or tick in (near(scale.low), near(scale.high))


@given(st.floats(0.01, 1e4), st.floats(1e-4, 10.0), st.sampled_from([True, False]))
def test_no_label_of_a_tick_is_repeated(low, span, log):
    axis = fit([low, low * (1 + span)], log).axis().to_dict(validate=False)
    digits = int(re.fullmatch(r"\.(\d+)~r", axis["format"])[1])
    labels = [f"{tick:.{digits - 1}e}" for tick in axis["values"]]
    assert len(set(labels)) == len(labels) >= 2


def test_two_of_twenty_far_off_leave_the_rest_most_of_the_height():
    # what was seen: 18 points in a tenth of the height
    near = [0.20 + 0.005 * n for n in range(18)]
    scale = focus([*near, 1.1, 0.9])
    assert scale.place(max(near)) - scale.place(min(near)) > 0.85
    assert scale.high < 0.9


@pytest.mark.parametrize(
    "losses", [[0.1, 0.2, 3.0], [0.1, 0.2, 0.3, 0.4, 0.6, 0.9], [0.1, 0.3, 1.0, 3.0, 9.0, 27.0]]
)
def test_few_losses_and_losses_without_a_gap_are_all_drawn(losses):
    assert focus(losses) == fit(losses)


def test_scores_far_below_the_rest_lie_off_the_low_end():
    near = [0.90 + 0.005 * n for n in range(12)]
    scale = focus([*near, 0.1, 0.2], higher_is_better=True)
    assert scale.is_cut_below
    assert [value for value in (*near, 0.1, 0.2) if scale.off(value)] == [0.1, 0.2]
    assert scale.low < 0.90
    assert scale.high > 0.95
    mirrored = focus([-value for value in (*near, 0.1, 0.2)])
    assert (scale.low, scale.high) == (-mirrored.high, -mirrored.low)


def test_a_loss_far_above_the_rest_is_an_arrow_at_the_edge_and_in_the_caption(report):
    found = page(report(trials=16, prune=False, strategies=("lora",), losses={6: 9.0}))
    sections = {section.id: section for section in found.sections}
    for chart in ("cost", "trials", "hparams", "curves"):
        figure = next(block for block in sections[chart].blocks if block.kind == "figure")
        said = "1 curve leaves" if chart == "curves" else r"an arrow at its edge: #6 [89]\."
        assert re.search(said, figure.note), chart
        panel = figure.options[0][1] if chart == "cost" else figure.panels[0]
        spec = json.loads(panel.spec)
        arrows = [layer for layer in layers(spec) if layer["mark"].get("shape") == draw._UP]
        rows = [row for layer in arrows for row in spec["datasets"][layer["data"]["name"]]]
        assert [row["trial"] for row in rows] == ["6"], chart
        others = [row["y"] for rows in spec["datasets"].values() for row in rows if "y" in row]
        assert max(y for y in others if y is not None) <= rows[0]["y"], chart


def layers(spec):
    """The single charts of a spec."""
    return [one for layer in spec["layer"] for one in layers(layer)] if "layer" in spec else [spec]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_labels_keep_their_order_and_their_distance(places):
    moved = spread_labels(places, 0.05)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    gaps = [moved[b] - moved[a] for a, b in itertools.pairwise(order)]
    assert all(gap >= 0.05 - 1e-9 for gap in gaps)


def test_svg_keeps_marks_and_loses_what_a_page_does_not_need():
    raw = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="50" height="40" viewBox="0 0 50 40">'
        '<rect width="50" height="40" fill="white"/><g class="mark-symbol role-mark" role="x">'
        '<path aria-label="17" role="graphics-symbol" transform="translate(10.04,20.06)" '
        'd="M-3,-3h6v6h-6Z" fill="var(--lora)" opacity="1" style="cursor:pointer"/>'
        '<path aria-label="not a trial" d="M0,0L10.123,5.678" stroke="red"/></g>'
        '<g class="role-axis" aria-label="X-axis"><text>0</text></g>'
        '<defs><clipPath id="clip0"/></defs></svg>'
    )
    text = draw.clean_svg(raw, 'a "title"', "<what>")
    assert 'data-trial="17"' in text
    assert 'transform="translate(10,20.1)"' in text
    assert 'd="M0,0L10.1,5.7"' in text
    assert "&#34;title&#34;" in text
    assert "&lt;what&gt;" in text
    for gone in ("style=", "aria-roledescription", "X-axis", "clip", "white", 'opacity="1"'):
        assert gone not in text


def test_strategies_look_different_by_shape_and_unknown_ones_are_neutral():
    marks = [traits_of(name).mark for name in known_strategies()]
    assert len({mark.shape for mark in marks}) == len(marks)
    assert style_of(StrategyOnModel("someone-elses")).css == "s-stroke c-0"


def test_every_shape_has_a_sign_and_every_colour_a_value_in_the_stylesheet():
    css = (resources.reports() / "assets" / "report.css").read_text()
    assert set(GLYPHS) == set(get_args(Shape))
    for shape, glyph in GLYPHS.items():
        assert f'.s-{shape}::before {{ content: "{glyph}"; }}' in css
    for color in COLORS:
        assert f".c-{color}::before {{ color: var(--mark-{color}); }}" in css
