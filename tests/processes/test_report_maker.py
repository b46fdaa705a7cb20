"""Reports are made by a child process: nobody waits for it, and what ends it costs only charts."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sweeper.errors import SweeperError
from sweeper.findings.findings import Findings
from sweeper.processes.report_maker import LOG, MAX_TIME_SHARE, ReportMaker
from sweeper.reporting.compose import report_of
from sweeper.reporting.document import Report

pytestmark = pytest.mark.usefixtures("preloaded")
ABORTS = "import os\ndef vegalite_to_svg(spec): os.abort()\n"
DRAWS = "def vegalite_to_svg(spec): return '<svg></svg>'\n"
WAITS = """
import time
from pathlib import Path
def vegalite_to_svg(spec):
    Path({begun!r}).touch()
    while not Path({free!r}).exists():
        time.sleep(0.01)
    return '<svg></svg>'
"""
PICTURE = "def svg_to_png(svg, **_): return b''\n"
REFUSES = "def vegalite_to_svg(spec): raise ValueError('no such mark')\n"


@pytest.fixture
def engine(tmp_path_factory, monkeypatch):
    """Put another drawing engine in the place of the real one, in processes started from here."""

    def use(code: str) -> None:
        folder = tmp_path_factory.mktemp("engine")
        (folder / "vl_convert.py").write_text(f"{code}\n{PICTURE}")
        paths = [str(folder), str(Path(__file__).parents[2])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))

    return use


def polled(maker, done, seconds=300.0):
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, "it did not happen in time"
        maker.poll()
        time.sleep(0.005)


def charts(run):
    return run.report_html.read_text().count("<svg")


def idle(maker):
    return lambda: maker._child is not None and not maker.busy


def test_one_process_makes_every_report_of_the_run_as_it_is_then(make_run):
    run = make_run(trials=6)
    with ReportMaker(run) as maker:
        report = maker.finish()
        assert report == report_of(run) == Report.read(run.report)
        assert report.findings == Findings.read(run.findings)
        assert charts(run) > 3
        assert (maker.no_charts, maker.warning) == ("", "")
        process = psutil.Process(maker._child.process.pid)
        assert process.nice() == psutil.Process().nice()
        (run.trial(5) / "result.json").unlink()
        assert maker.finish() == report_of(run) != report
        assert process.is_running()
        assert maker._child.process.pid == process.pid
    assert not process.is_running()
    assert not (run.path / LOG).exists()


def test_nobody_waits_for_a_report_which_takes_at_most_a_twentieth_of_the_time(
    make_run, engine, tmp_path
):
    run, now = make_run(trials=4), [0.0]
    begun, free = tmp_path / "begun", tmp_path / "free"
    engine(WAITS.format(begun=str(begun), free=str(free)))
    with ReportMaker(run, clock=lambda: now[0]) as maker:
        maker.poll()
        assert maker._child is None  # nothing was asked for
        maker.request()
        polled(maker, begun.exists)
        maker.poll()  # returns, although the engine waits
        assert maker.busy
        free.touch()
        polled(maker, lambda: run.report_html.is_file() and not maker.busy)
        assert psutil.Process(maker._child.process.pid).nice() > psutil.Process().nice()
        due = maker._next_report_at
        assert due > 0
        seconds = due * MAX_TIME_SHARE
        run.report_html.unlink()
        maker.request()
        now[0] = 19 * seconds
        maker.poll()
        assert not maker.busy
        now[0] = 21 * seconds
        maker.poll()
        assert maker.busy
        polled(maker, idle(maker))
        assert run.report_html.is_file()


def test_an_engine_that_ends_its_process_costs_only_charts(make_run, engine):
    run, now = make_run(trials=2), [0.0]
    engine(ABORTS)
    with ReportMaker(run, clock=lambda: now[0]) as maker:
        maker.request()
        polled(maker, lambda: maker.no_charts)
        now[0] = maker._next_report_at
        polled(maker, lambda: run.report_html.is_file() and idle(maker)())
        assert maker.no_charts == "the drawing process was killed by SIGABRT"
        assert maker.no_charts in maker.warning
        assert maker.warning.endswith(f"sweeper report {run.quoted}")
        assert charts(run) == 0
        assert maker.finish().findings == report_of(run).findings
    page = run.report_html.read_text()
    assert (
        "The charts could not be drawn (the drawing process was killed by SIGABRT); "
        f"draw them later with: sweeper report {run.quoted}" in page
    )
    assert Report.read(run.path / "report.json").no_charts == maker.no_charts


def test_an_engine_that_raises_costs_only_charts(make_run, engine):
    run = make_run(trials=2)
    engine(REFUSES)
    with ReportMaker(run) as maker:
        assert maker.finish().findings == report_of(run).findings
    assert maker.no_charts == "the drawing engine said: no such mark"
    assert "(the drawing engine said: no such mark)" in run.report_html.read_text()


def test_the_last_report_tries_charts_again_also_in_place_of_a_killed_process(make_run, engine):
    run = make_run(trials=2)
    engine(DRAWS)
    with ReportMaker(run) as maker:
        maker.no_charts = "the drawing process was killed by SIGKILL"
        maker.finish(try_charts=False)
        assert charts(run) == 0
        maker.finish()
        assert charts(run) > 3
        assert maker.no_charts == ""
        maker._child.process.kill()
        maker._child.process.wait()
        maker.finish()
        assert maker.no_charts == ""


def test_a_process_that_hangs_is_ended(make_run, engine):
    run = make_run(trials=2)
    engine("import time\ndef vegalite_to_svg(spec): time.sleep(600)\n")
    with ReportMaker(run) as maker:
        report = maker.finish(timeout=1.0)
    assert report.findings == report_of(run).findings
    assert "gave no answer for 1 s" in maker.no_charts
    assert run.report_html.is_file()


def test_where_no_process_can_be_started_the_report_is_made_here(make_run, monkeypatch):
    run = make_run(trials=2)

    def refused(*_, **__):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refused)
    with ReportMaker(run) as maker:
        maker.request()
        maker.poll()
        assert maker.finish().findings == report_of(run).findings
    assert maker.no_charts == "the drawing process could not be started"
    assert charts(run) == 0


def test_a_run_that_cannot_be_read_is_an_error_at_the_end_only_and_ends_no_process(make_run):
    run = make_run(trials=2)
    plan = run.plan.read_text()
    run.plan.write_text("{}")
    with ReportMaker(run) as maker:
        maker.request()
        polled(maker, idle(maker))
        child = maker._child
        with pytest.raises(SweeperError, match="Plan"):
            maker.finish(try_charts=False)
        run.plan.write_text(plan)
        maker.no_charts = ""
        assert maker.finish().findings == report_of(run).findings
        assert maker._child is child
        assert charts(run) > 3


KILLED = """
import os, signal, sys
from pathlib import Path
from sweeper.processes.report_maker import ReportMaker
from sweeper.runfolder import RunFolder
maker = ReportMaker(RunFolder(Path(sys.argv[1])))
maker.finish()
print(maker._child.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_process_ends_with_a_command_that_is_killed(make_run):
    command = [sys.executable, "-c", KILLED, str(make_run(trials=1).path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode < 0
    number, limit = int(done.stdout), time.monotonic() + 300
    while psutil.pid_exists(number) and time.monotonic() < limit:
        if psutil.Process(number).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.02)
    assert time.monotonic() < limit
