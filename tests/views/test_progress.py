"""How a running sweep looks on a terminal, in a file, and to a machine."""

import json
import sys
import time
import types
from io import StringIO

import pytest
from make_plan import Shape
from make_plan import make_plan as planned
from rich.console import Console

from sweeper import units
from sweeper.execution.state.status import Best, Eta, Event, Status
from sweeper.findings.findings import Findings
from sweeper.objective import LOSS
from sweeper.reporting.compose import report_of
from sweeper.reporting.write import write_report
from sweeper.search.study_end import Outlook
from sweeper.views import progress as progress_module
from sweeper.views.progress import (
    Hidden,
    JsonProgress,
    LiveProgress,
    PlainProgress,
    Screen,
    event_line,
    plain_line,
    plan_line,
    progress,
    view,
)

AT = "2026-01-01T00:00:00Z"
CHOSEN = {"learning_rate": 2e-4, "r": 8, "num_train_epochs": 1.0, "weight_decay": 0.1}
BEST = Best(trial=3, strategy="lora", parameters=CHOSEN, value=0.25)
STATUS = Status(
    phase="search", trials=20, complete=4, pruned=1, failed=3, out_of_memory=2, best=BEST,
    running=(
        Event(kind="trial-started", at="t", worker="0", trial=8, strategy="lora",
              parameters=CHOSEN, rung=2, rungs=8, validation_loss=0.5, median_here=0.4),
    ),
    default=BEST.model_copy(update={"validation_loss": 0.3, "value": 0.3}),
    eta=Eta(low=60, high=180), started_at=AT, updated_at=AT,
)  # fmt: skip


def event(kind, **more):
    return Event(kind=kind, at=AT, **more)


@pytest.mark.parametrize(
    ("happened", "line"),
    [
        (event("phase", state="baselines"), "phase=baselines"),
        (event("warning", text="two texts were cut"), "warning two texts were cut"),
        (event("trial-started", trial=3, strategy="lora"), "trial=3 state=running strategy=lora"),
        (
            event("trial-ended", trial=3, strategy="lora", state="COMPLETE", validation_loss=0.25),
            "trial=3 state=complete strategy=lora val=0.2500 best=3 done=8/20",
        ),
        (event("job-started", job="trial-5", trial=5), "job=trial-5 state=running"),
        (event("job-ended", job="trial-5", state="COMPLETE"), "job=trial-5 state=complete"),
        (
            event("baseline", job="probe", validation_loss=0.5),
            "job=probe state=baseline val=0.5000",
        ),
    ],
)
def test_a_plain_line_says_what_happened(happened, line):
    assert plain_line(happened, STATUS) == f"{AT} {line}"


def shown_lines(status, width, screen=None):
    """The lines of the live view, none of them wrapped."""
    console = Console(width=200)
    with console.capture() as output:
        console.print(view(status, width, screen))
    return [line.rstrip() for line in output.get().splitlines()]


def test_a_wide_terminal_sees_everything_and_a_narrow_one_the_numbers():
    head, running, best = shown_lines(STATUS, 100)
    assert head == "sweep 8/20 ####------  4 ok 1 pruned 2 OOM 1 failed  ETA 60 s to 3 min"
    assert running == "#8 lora r=8 lr=2e-4 epochs=1  2/8  val 0.500  (median here 0.400)"
    assert best.startswith("best #3 lora r=8 lr=2e-4 epochs=1  val 0.250 (lower is better)")
    assert best.endswith("default 0.300")
    head, running, _ = shown_lines(STATUS, 60)
    assert head == "sweep 8/20  4 ok 1 pruned 2 OOM 1 failed  ETA 60 s to 3 min"
    assert running == "#8 lora r=8 lr=2e-4 epochs=1  2/8  val 0.500"


@pytest.fixture
def screen(monkeypatch):
    """What a live view of 16 planned trials shows on a UTF-8 terminal."""
    monkeypatch.setattr(progress_module, "can_encode_bars", lambda _: True)
    return Screen(plan=planned(Shape(trials=3)))


def test_the_plan_and_the_time_left_are_there_at_second_0(screen, capsys):
    sweep = screen.plan.budget.sweep
    for phase in ("baselines", "search"):
        begun = Status(phase=phase, trials=3, started_at=AT, updated_at=AT)
        first, head = shown_lines(begun, 100, screen)
        assert first == plan_line(screen.plan)
        assert units.span(sweep.low, sweep.high) in first
        assert head.endswith(f"ETA {units.span(sweep.low, sweep.high)} by the plan")
    assert units.span(60, 180) in shown_lines(STATUS, 100, screen)[1]
    PlainProgress(screen.plan).close()
    assert capsys.readouterr().err.rstrip().endswith(first)


def test_a_curve_is_a_sparkline_on_the_scale_of_all(screen):
    for number, losses in ((8, (0.9, 0.5)), (3, (0.7, 0.1, float("nan")))):
        for loss in losses:
            screen.update(event("rung", trial=number, validation_loss=loss), STATUS)
    assert screen.sparkline(8) == "█▅"
    assert screen.sparkline(3) == "▆▁×"
    assert screen.sparkline(99) == ""
    assert "█▅" in next(line for line in shown_lines(STATUS, 100, screen) if line.startswith("#8"))
    ended = event("trial-ended", trial=3, strategy="lora", state="COMPLETE")
    assert "▆▁×" in event_line(ended, LOSS, screen)
    screen.update(event("trial-started", trial=8), STATUS)
    assert screen.sparkline(8) == ""


def test_columns_of_running_trials_stand_below_one_another(screen):
    other = STATUS.running[0].model_copy(update={"trial": 12, "strategy": "full", "rung": 7})
    two = STATUS.model_copy(update={"running": (*STATUS.running, other)})
    rows = [line for line in shown_lines(two, 100, screen) if line.startswith("#")]
    assert len({row.index("/8") for row in rows}) == len({row.index("val") for row in rows}) == 1


def test_the_best_has_its_interval_once_findings_have_it(screen, make_run):
    run = make_run(name="mine", trials=6)
    write_report(run, report_of(run, "none"))
    found = Findings.read(run.findings)
    one = found.strategies[0]
    best = BEST.model_copy(update={"trial": one.best_trial})
    status = STATUS.model_copy(update={"best": best})
    screen.run = run
    screen.update(event("trial-ended", trial=one.best_trial, state="COMPLETE"), status)
    line = next(line for line in shown_lines(status, 120, screen) if line.startswith("best"))
    assert f"95% CI {one.best_interval.low:.1f}"[:9] in line


def test_a_trial_is_one_line_where_nothing_is_redrawn(capsys):
    plain = PlainProgress()
    for kind, more in (
        ("trial-started", {}), ("rung", {"rung": 1}), ("trial-ended", {"state": "COMPLETE"}),
    ):  # fmt: skip
        plain(event(kind, trial=3, **more), STATUS)
    plain.close()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_many_workers_take_no_more_than_twelve_lines():
    many = STATUS.model_copy(update={"running": STATUS.running * 30})
    assert len(shown_lines(many, 100)) == 12


def test_other_phases_count_their_jobs_and_a_broken_limit_is_said():
    status = STATUS.model_copy(
        update={
            "phase": "confirmation", "jobs": 6, "jobs_done": 2, "eta": None,
            "best": BEST.model_copy(update={"over_limits": ("forgetting",)}),
        }
    )  # fmt: skip
    head, *_, best = shown_lines(status, 100)
    assert head == "confirmation 2/6 jobs  sweep 8/20  4 ok 1 pruned 2 OOM 1 failed"
    assert best.endswith("over the limit on forgetting")


def test_what_has_ended_stays_on_the_screen_with_its_time():
    ended = event(
        "trial-ended", trial=3, strategy="lora", parameters=CHOSEN, state="PRUNED",
        validation_loss=0.25, seconds=90.0, text="out of reach",
    )  # fmt: skip
    said = event_line(ended)
    assert said == "#3  lora r=8 lr=2e-4 epochs=1  pruned val 0.250 in 90 s  out of reach"
    assert event_line(event("phase", state="test")) == "phase  test"


def test_a_machine_reads_events_and_nothing_else(capsys):
    JsonProgress()(event("phase", state="search"), STATUS)
    streams = capsys.readouterr()
    assert json.loads(streams.err) == {"kind": "phase", "at": AT, "state": "search"}
    assert streams.out == ""


def test_a_quiet_run_says_that_it_is_alive_and_rungs_are_not_told(capsys):
    plain = PlainProgress(heartbeat_seconds=0.02)
    plain(event("rung", trial=3, rung=1), STATUS)
    at_work = {"worker": "0", "job": "baselines", "text": "writing text", "done": 3, "of": 12}
    status = STATUS.model_copy(update={"running": (Event(kind="job-started", at="t", **at_work),)})
    plain(event("progress", text="writing text", done=3, of=12), status)
    assert "baselines  writing text: 3 of 12" in shown_lines(status, 100)
    said = ""
    for _ in range(30_000):
        said += capsys.readouterr().err
        if "heartbeat" in said:
            break
        time.sleep(0.01)
    plain.close()
    assert "heartbeat best=3 done=8/20 writing text: 3 of 12" in said
    assert "progress" not in said
    assert "trial=3" not in said


def test_an_ended_trial_stays_on_the_terminal_as_one_line(monkeypatch):
    shown = StringIO()
    console = Console(file=shown, force_terminal=True, width=80, color_system=None)
    monkeypatch.setattr("sweeper.views.progress.err", lambda: console)
    live = LiveProgress(Screen())
    why = "stopped at rung 3 of 8: " + "worse than other trials of its strategy, " * 5
    live(event("trial-ended", trial=3, state="PRUNED", strategy="lora", text=why), STATUS)
    live.close()
    lines = [
        line for line in shown.getvalue().splitlines() if "#3  lora" in line or "worse" in line
    ]
    assert len(lines) == 1
    assert lines[0].rstrip().endswith("…")


def test_the_view_follows_the_stream_and_what_was_asked_for():
    for made, kind in (
        (progress("plain"), PlainProgress),
        (progress("auto"), PlainProgress),  # no terminal here
        (progress("none"), Hidden),
        (progress("plain", quiet=True), Hidden),
        (progress("plain", "jsonl", quiet=True), JsonProgress),
    ):
        assert isinstance(made, kind)
        made.close()


def test_a_notebook_redraws_one_output_and_escapes_it(monkeypatch):
    shown = []

    class Handle:
        def update(self, page):
            shown.append(page)

    fake = types.SimpleNamespace(HTML=str, display=lambda page, display_id: Handle())
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    monkeypatch.setattr(progress_module, "err", lambda: types.SimpleNamespace(is_jupyter=True))
    told = progress()
    told(event("warning", text="a <b> text"), STATUS)
    told(event("rung", trial=8), STATUS)
    told.close()
    assert len(shown) == 2  # the second event came too soon to be drawn at once
    assert "a &lt;b&gt; text" in shown[-1]
    assert shown_lines(STATUS, 100)[0] in shown[-1]
    assert not isinstance(progress("none"), type(told))


def test_what_more_trials_may_bring_is_shown_and_told_once_an_ended_trial():
    coming = Outlook(seconds=50, gain=0.01, noise=0.1)
    status = STATUS.model_copy(update={"outlook": coming, "running": STATUS.running * 30})
    said = str(coming)
    assert shown_lines(status, 100)[-1] == said
    assert len(shown_lines(status, 100)) == 12
    assert plain_line(event("trial-ended", trial=3, state="PRUNED"), status).endswith(f"({said})")
    assert said not in plain_line(event("trial-started", trial=4), status)
