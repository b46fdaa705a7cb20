"""The answer in characters: the same sentence and numbers as in the report."""

import pytest

from sweeper.findings.verdict.headline import scoreboard
from sweeper.reporting.compose import report_of
from sweeper.reporting.render import markdown, model_card, plain
from sweeper.reporting.write import html, write_report
from sweeper.views import verdict_view
from sweeper.views.verdict_view import bars, verdict_lines


@pytest.fixture
def document(make_run):
    return report_of(make_run(trials=12, weights=True))


def test_every_reader_gets_the_same_sentence_and_scores(document):
    findings = document.findings
    sentence = findings.verdict.sentence
    lines = verdict_lines(findings, findings.next_step)
    assert lines[0] == sentence
    for text in (markdown(document), model_card(document)):
        assert plain(sentence) in text
    assert sentence.partition(": ")[0] in html(document)
    shown = "\n".join(lines)
    for model in scoreboard(findings).models:
        score = f"{100 * model.score.value:.1f}%"
        for text in (shown, markdown(document), html(document)):
            assert score in text


def test_a_bar_stands_where_its_interval_is(document):
    board = scoreboard(document.findings)
    drawn = [line for line in bars(board) if line.startswith("  ") and "%" in line]
    assert len(drawn) == len(board.models)
    assert max(map(len, drawn)) <= 100
    low = min(model.score.ends[0] for model in board.models)
    high = max(model.score.ends[1] for model in board.models)
    for line, model in zip(drawn, board.models, strict=True):
        (point,) = (n for n, sign in enumerate(line) if sign in "◆●○")
        share = (model.score.value - low) / (high - low)
        assert point == pytest.approx(35 + share * 35, abs=1)
        assert (line[72] == "=") == model.tied


def test_a_stream_that_has_only_ascii_gets_ascii(document, monkeypatch):
    monkeypatch.setattr(verdict_view, "can_encode_bars", lambda _: False)
    assert "".join(bars(scoreboard(document.findings))).isascii()


def test_the_plot_of_the_verdict_is_a_file_of_its_own(make_run):
    run = make_run(trials=12)
    report = report_of(run)
    write_report(run, report)
    picture = (run.path / "forest.svg").read_text()
    assert "var(--" not in picture
    for model in scoreboard(report.findings).models:
        assert model.title in picture
    assert (run.path / "forest.png").read_bytes().startswith(b"\x89PNG")
