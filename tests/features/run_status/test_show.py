"""``sweeper show``: one run, while it runs, after it, and where it was killed."""

import json
import threading
import time

import pytest

from sweeper.execution.state.status import Status


def event(run, **fields):
    line = json.dumps({"at": "2026-01-05T10:00:00Z", **fields})
    with run.events.open("a", encoding="utf-8") as file:
        file.write(line[:20])
        file.flush()
        time.sleep(0.05)  # half a line is no event yet
        file.write(line[20:] + "\n")


@pytest.mark.usefixtures("without_charts")
def test_a_finished_run_shows_its_counts_verdict_and_report(sweeper, make_run):
    run = make_run(name="mine", trials=6)
    ran = sweeper("report", "mine")
    assert ran.code == 0
    assert f"report: runs/mine/{run.report_html.name}" in ran.out
    sentence = ran.out.splitlines()[0]
    shown = sweeper("show", "mine")
    assert shown.code == 0
    assert sentence in shown.out
    assert "No command is running" not in shown.out
    told = json.loads(sweeper("show", "mine", "--json").out)
    assert told["name"] == "mine"
    assert told["status"]["phase"] == "complete"
    assert told["verdict"]["sentence"] == sentence


def test_findings_of_another_version_hide_no_progress_and_name_their_remedy(sweeper, make_run):
    run = make_run(name="mine", trials=3)
    run.findings.write_text('{"schema_version": 1, "other": 2}')
    shown = sweeper("show", "mine")
    assert shown.code == 0
    assert "of another version. Write it again: sweeper report runs/mine" in shown.out
    assert json.loads(sweeper("show", "mine", "--json").out)["verdict"] is None


def test_a_run_without_a_status_was_only_planned(sweeper, make_run):
    run = make_run(name="mine", trials=3)
    run.status.unlink()
    assert sweeper("show", "mine").out.splitlines() == [
        "planned, not started", "Start it with: sweeper run runs/mine/sweep.yaml"
    ]  # fmt: skip
    assert json.loads(sweeper("show", "mine", "--json").out)["status"] is None


@pytest.mark.parametrize("more", [(), ("--follow",)])
def test_a_killed_run_is_not_waited_for_and_says_how_to_go_on(sweeper, make_run, more):
    run = make_run(name="mine", trials=5, ends={4: "RUNNING"}, phase="search", seal=False)
    event(run, kind="phase", state="search")
    ran = sweeper("show", "mine", *more)
    assert ran.code == 0
    assert "No command is running this sweep" in ran.out
    assert "Resume with: sweeper run runs/mine/sweep.yaml" in ran.out


@pytest.mark.parametrize(
    ("phase", "resumed"), [("interrupted", True), ("failed", True), ("complete", False)]
)
def test_a_run_that_can_go_on_says_how(sweeper, make_run, phase, resumed):
    make_run(name="mine", trials=5, phase=phase, seal=False)
    assert ("Resume with: sweeper run runs/mine/" in sweeper("show", "mine").out) == resumed


def test_following_leaves_damaged_events_out(sweeper, make_run):
    run = make_run(name="mine", trials=5, ends={4: "RUNNING"}, phase="search", seal=False)
    run.events.write_bytes(b"\xff\x00[\n" + b"[" * 100_000 + b"\n{}\n")
    event(run, kind="phase", state="search")
    ran = sweeper("show", "mine", "--follow")
    assert ran.code == 0
    assert ran.out.splitlines()[0].endswith("phase=search")


def test_following_copies_whole_events_until_the_run_has_ended(sweeper, make_run):
    run = make_run(name="mine", trials=5, ends={4: "RUNNING"}, phase="search", seal=False)
    event(run, kind="phase", state="search")

    def go_on():
        event(run, kind="trial-started", trial=4, strategy="lora")
        event(run, kind="rung", trial=4, rung=1)
        event(run, kind="trial-ended", trial=4, state="COMPLETE", validation_loss=0.5)
        status = Status.read(run.status)
        status.model_copy(update={"phase": "complete"}).write(run.status)

    with run.lock():
        writer = threading.Thread(target=go_on)
        writer.start()
        ran = sweeper("show", "mine", "--follow")
        writer.join()
    lines = [line.partition(" ")[2] for line in ran.out.splitlines()]
    assert lines[0] == "phase=search"
    assert lines[1].startswith("trial=4 state=complete val=0.5000")
    assert not any("rung" in line for line in lines)


@pytest.mark.usefixtures("without_charts")
def test_the_live_page_is_the_report_that_reloads_itself_until_the_run_has_ended(
    sweeper, make_run, monkeypatch
):
    run = make_run(name="mine", trials=5, ends={4: "RUNNING"}, phase="search", seal=False)
    assert sweeper("report", "mine").code == 0
    monkeypatch.setattr("webbrowser.open", lambda address: address.startswith("file://"))
    seen = []

    def sleep(seconds):
        seen.append((run.path / "live.html").read_text())
        raise KeyboardInterrupt

    monkeypatch.setattr("sweeper.features.run_status._printing.time.sleep", sleep)
    with run.lock():
        ran = sweeper("show", "mine", "--live")
    assert ran.code == 0
    assert "live page: runs/mine/live.html" in ran.out
    assert '<meta http-equiv="refresh" content="5">' in seen[0]
    assert '<div class="page" role="status"><pre>' in seen[0]
    report = run.report_html.read_text()
    left = (run.path / "live.html").read_text()
    assert "refresh" not in left
    assert left.split("</header>")[1] == report.split("</header>")[1]
