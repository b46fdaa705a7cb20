"""Texts of strangers in terminal, report, CSV and Markdown: nothing unseen, nothing endless."""

import io
import json
import sys

import altair as alt
import pytest

from sweeper import resources
from sweeper.cli.main import main
from sweeper.errors import DataError
from sweeper.execution.state.status import Event
from sweeper.features.prediction import _steps as steps
from sweeper.reporting.charts import draw
from sweeper.reporting.csvfiles import harmless
from sweeper.reporting.render import _environment, _escaped, plain
from sweeper.safe_text import visible
from sweeper.views.console import out
from sweeper.views.progress import plain_line

UNSEEN = "a\x1b]0;x\x07b\u202ec\u2066d\0e\x9bf\u200bg\ufeffh\r\U000e0041"


def on_terminal(text, capsys):
    out().print(text, markup=False)
    return capsys.readouterr().out


def in_attribute(text, _):
    template = '<td data-s="{{ text }}">'
    return (
        _environment(resources.reports() / "templates", html=True)
        .from_string(template)
        .render(text=text)
    )


PLACES = {
    "page": lambda text, _: str(_escaped(text)),
    "attribute": in_attribute,
    "CSV": lambda text, _: str(harmless(text)),
    "Markdown": lambda text, _: plain(text),
    "terminal": on_terminal,
    "prediction": lambda text, _: steps.readable_line(json.dumps({"text": text})),
    "label": lambda text, _: steps.readable_line(
        json.dumps({"label": text, "probabilities": {text: 1.0}})
    ),
    "event": lambda text, _: plain_line(Event(at="now", kind="warning", text=text), None),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_what_cannot_be_seen_is_written_out(place, capsys):
    shown = place(UNSEEN, capsys).rstrip("\n")
    assert shown == visible(shown)
    assert "u202e" in shown
    assert "x1b" in shown


def test_other_scripts_stay_as_they_are(capsys):
    for text in ("Köfferchen", "שלום", "नमस्ते", "两\tb", "🙂"):
        assert visible(text) == text


def test_errors_are_visible_and_short(monkeypatch, capsys):
    def fail():
        raise DataError("x\x1b[2J" * 100_000, where="a\u202eb")

    monkeypatch.setattr("sweeper.cli.main.app", fail)
    monkeypatch.setattr(sys, "stderr", said := io.StringIO())
    with pytest.raises(SystemExit):
        main()
    assert "\x1b" not in said.getvalue()
    assert "\u202e" not in said.getvalue()
    assert len(said.getvalue()) < 10_000


def texts_in(value):
    """All texts of a value from JSON."""
    if isinstance(value, dict):
        return [*value, *texts_in([*value.values()])]
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    return [value] if isinstance(value, str) else []


def test_no_text_ends_the_process_that_draws():
    sheet, hostile = draw.Sheet(), UNSEEN + "\ud800\ufffe\uffff\\'\""
    chart = sheet.chart([{"x": hostile}]).mark_bar().encode(x=alt.X("x:N", title=hostile))
    drawing = sheet.draw(chart, (100, 100), hostile, hostile)
    texts = texts_in(json.loads(drawing.spec))
    assert any("uffff" in text for text in texts)
    assert [text for text in texts if visible(text) != text] == []
    assert "<svg" in draw.render_svg(drawing)


@pytest.mark.parametrize("cell", ["=1", "\u200b=1", "\0=1", "\ufeff@x", "＝1", "\r\n+1", "\xa0-1"])
def test_formulas_are_defused_whatever_stands_before_them(cell):
    assert str(harmless(cell)).startswith("'")
