"""The files of a report: all of them, whole, the same bytes for the same document."""

import csv
import os
import subprocess
import sys

import pytest
import vl_convert

from sweeper.facts.record import DataChange
from sweeper.findings.compute import compute
from sweeper.findings.findings import Findings, Limitation
from sweeper.plans import Plan
from sweeper.reporting.compose import report_of
from sweeper.reporting.document import Report
from sweeper.reporting.render import markdown, model_card
from sweeper.reporting.write import html, write_report
from sweeper.trials import TrialResult

FILES = (
    "findings.json", "report.json", "report.html", "report.md", "trials.csv", "curves.csv",
    "MODEL_CARD.md",
)  # fmt: skip


@pytest.fixture
def _few_resamples():
    """As many as in reports that other tests and processes have written."""


def test_every_file_is_written_for_every_state(reports):
    for run in reports.values():
        assert all((run.path / name).stat().st_size > 0 for name in FILES)
        assert not list(run.path.glob(".*.html*"))


def test_the_page_is_a_function_of_the_document(reports):
    for name in ("mixed", "text", "zero"):
        run = reports[name]
        again = Report.read(run.path / "report.json")
        assert html(again) == run.report_html.read_text()


def test_the_same_run_gives_the_same_bytes_in_another_process(reports):
    run = reports["mixed"]
    before = {name: (run.path / name).read_bytes() for name in FILES}
    code = (
        "import sys; from pathlib import Path; from sweeper.runfolder import RunFolder;"
        "from sweeper.reporting.compose import report_of;"
        "from sweeper.reporting.write import write_report; run = RunFolder(Path(sys.argv[1]));"
        "write_report(run, report_of(run))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    subprocess.run([sys.executable, "-c", code, str(run.path)], check=True, env=env)
    assert {name: (run.path / name).read_bytes() for name in FILES} == before


def test_a_report_without_charts_says_so_and_opens_its_tables(make, monkeypatch):
    monkeypatch.setattr(vl_convert, "vegalite_to_svg", lambda _: pytest.fail("it drew"))
    run = make(trials=6)
    written = write_report(run, report_of(run, "the engine <broke>"))
    page = run.report_html.read_text()
    assert Report.read(run.path / "report.json") == written
    assert html(written) == page
    assert "The charts could not be drawn (the engine &lt;broke&gt;); draw them later" in page
    assert "<svg" not in page
    assert page.count('<details class="data" open>') == page.count('<details class="data"') > 1


def test_an_engine_that_raises_leaves_a_report_without_charts(make, monkeypatch):
    class Panic(BaseException):
        """As a panic of Rust code comes out: no Exception."""

    def broken(_):
        raise Panic("index out of bounds\nnote: run with RUST_BACKTRACE=1")

    monkeypatch.setattr(vl_convert, "vegalite_to_svg", broken)
    run = make(trials=2, seed=77)
    written = write_report(run, report_of(run))
    assert written.no_charts == "the drawing engine said: index out of bounds"
    assert written.no_charts in run.report_html.read_text()


def test_findings_can_be_read_back(reports):
    for run in reports.values():
        assert Findings.read(run.findings) == report_of(run).findings


def test_a_failed_write_leaves_the_old_page(make, monkeypatch):
    run = make(trials=2)
    write_report(run, report_of(run))
    before = run.report_html.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        write_report(run, report_of(run))
    assert run.report_html.read_text() == before


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_have_one_line_a_trial_and_one_a_rung(reports):
    run = reports["mixed"]
    findings = compute(run)
    trials = rows_of(run.path / "trials.csv")
    curves = rows_of(run.path / "curves.csv")
    assert len(trials) == len(findings.trials)
    assert list(trials[0])[:6] == [
        "trial", "strategy", "model", "origin", "state", "validation_loss",
    ]  # fmt: skip
    assert len(curves) == sum(len(trial.rungs) for trial in findings.trials)
    assert {row["state"] for row in trials} == {"COMPLETE", "PRUNED", "FAIL"}
    assert float(trials[0]["parameter.learning_rate"]) > 0
    pruned = next(row for row in trials if row["state"] == "PRUNED")
    assert pruned["validation_loss"] == ""
    assert pruned["pruned_because"]


def test_a_trial_that_stopped_by_itself_says_where_and_why(make):
    run = make(trials=6, prune=False)
    stopped = next(n for n in range(6) if TrialResult.read(run.trial(n) / "result.json").metrics)
    place = run.trial(stopped) / "result.json"
    result = TrialResult.read(place)
    why = "the loss on general text rose by 0.070 nats per token, beyond the limit of 0.02"
    update = {"stopped_at_rung": 3, "stopped_because": why, "best_rung": 2}
    place.write_text(result.model_copy(update=update).to_json())

    write_report(run, report_of(run))
    row = rows_of(run.path / "trials.csv")[stopped]
    assert (row["stopped_at_rung"], row["stopped_because"]) == ("3", why)
    assert row["state"] == "COMPLETE"
    others = [r for i, r in enumerate(rows_of(run.path / "trials.csv")) if i != stopped]
    assert {r["stopped_at_rung"] for r in others} == {""}
    page = run.report_html.read_text()
    assert f"stopped at rung 3, kept rung 2: {why}" in page


def test_markdown_is_short_and_marked_for_its_update(reports):
    for name, run in reports.items():
        lines = (run.path / "report.md").read_text().splitlines()
        assert len(lines) <= 60
        assert lines[0] == f"<!-- sweeper:{name} -->"
        assert any(line.startswith("**") for line in lines)


def test_markdown_of_a_run_with_many_limits_stays_short(report):
    found = report(trials=2)
    limit = Limitation(
        id="x", text="1 thing.", action="Do it.", share=0.5, could_change_verdict=True
    )
    many = found.findings.model_copy(update={"limits": (limit,) * 200})
    assert len(markdown(found.model_copy(update={"findings": many})).splitlines()) <= 60


def test_a_model_card_says_what_was_done_to_the_rows(make):
    run = make(trials=1)
    plan, report = Plan.read(run.plan), report_of(run)
    assert "Rows changed" not in model_card(report)
    changes = (
        DataChange(remedy="duplicates", action="removed", rows=1),
        DataChange(remedy="white-space", action="changed", rows=1200),
    )
    data = plan.facts.data.model_copy(update={"changes": changes})
    curated = plan.model_copy(update={"facts": plan.facts.model_copy(update={"data": data})})
    curated.write(run.plan)
    card = model_card(report_of(run))
    assert "- Rows changed: duplicates: 1 row left out; white-space: 1,200 rows changed\n" in card
