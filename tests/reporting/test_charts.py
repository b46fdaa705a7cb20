"""Charts: valid specs, small SVG, labels apart, nothing drawn that was not measured."""

import doctest
import itertools
import json
from typing import get_args

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper import resources
from sweeper.declared.files import known_strategies
from sweeper.declared.traits import COLORS, Shape
from sweeper.findings.record import CurvePoint
from sweeper.reporting.charts import curves, draw, parameters, scales, strategies, svg
from sweeper.reporting.charts.scales import dodge, fit
from sweeper.reporting.page import page
from sweeper.reporting.palette import GLYPHS, look


@pytest.mark.parametrize("module", [svg, scales, parameters, strategies])
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


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
    points = list(row.curve)
    points[3] = points[3].model_copy(update={"validation_loss": None})
    broken = row.model_copy(update={"curve": tuple(points)})
    findings = found.findings.model_copy(update={"trials": (broken, *found.findings.trials[1:])})
    whole = drawn_lines(draw.drawn(curves.curves(found.findings, "").drawing), 0)
    parts = drawn_lines(draw.drawn(curves.curves(findings, "").drawing), 0)
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
        point = CurvePoint(rung=1, optimizer_steps=1, tokens=1, epochs=1, validation_loss=1.0)
        rows.append(row.model_copy(update={"number": number, "curve": (point,)}))
    best = {s.best_trial for s in found.strategies if s.best_trial is not None}
    shown = curves.drawn_trials(found.model_copy(update={"trials": tuple(rows)}))
    assert len(shown) <= curves.MOST_CURVES
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
    assert axis.get("tickCount") == 6 or 2 <= len(axis["values"]) <= 6
    assert all(scale.low <= tick <= scale.high for tick in axis.get("values", ()))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_labels_keep_their_order_and_their_distance(places):
    moved = dodge(places, 0.05)
    order = sorted(range(len(places)), key=lambda i: (places[i], i))
    gaps = [moved[b] - moved[a] for a, b in itertools.pairwise(order)]
    assert all(gap >= 0.05 - 1e-9 for gap in gaps)


def test_svg_keeps_marks_and_loses_what_a_page_does_not_need():
    raw = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="50" height="40" viewBox="0 0 50 40">'
        '<rect width="50" height="40" fill="white"/><g class="mark-symbol role-mark" role="x">'
        '<path aria-label="17" role="graphics-symbol" transform="translate(10.04,20.06)" '
        'd="M-3,-3h6v6h-6Z" fill="var(--lora)" style="cursor:pointer"/>'
        '<path aria-label="not a trial" d="M0,0L10.123,5.678" stroke="red"/></g>'
        '<g class="role-axis" aria-label="X-axis"><text>0</text><text></text></g></svg>'
    )
    text = svg.clean_svg(raw, 'a "title"', "<what>")
    assert 'data-trial="17"' in text
    assert "M7,17.1h6v6h-6Z" in text
    assert 'd="M0,0l10.1,5.7"' in text
    assert "&#34;title&#34;" in text
    assert "&lt;what&gt;" in text
    for gone in ("style=", "aria-roledescription", "X-axis", "white", "<text></text>", "translate"):
        assert gone not in text


def test_strategies_look_different_by_shape_and_unknown_ones_are_neutral():
    looks = [look(name) for name in known_strategies()]
    assert len({one.shape for one in looks}) == len(looks)
    lines = [(one.color, one.dash) for one in looks]
    assert len(set(lines)) == len(lines)
    assert look("someone-elses").css == "s-stroke c-0"


def test_every_shape_has_a_sign_and_every_colour_a_value_in_the_stylesheet():
    css = (resources.reports() / "assets" / "report.css").read_text()
    assert set(GLYPHS) == set(get_args(Shape))
    for shape, glyph in GLYPHS.items():
        assert f'.s-{shape}::before {{ content: "{glyph}"; }}' in css
    for color in COLORS:
        assert f".c-{color}::before {{ color: var(--mark-{color}); }}" in css
