"""Makes a run's report again and again, in a process of its own.

Reads one line for each report on standard input (``gently`` while trials train, else ``now``) and
answers each with one line of JSON. Findings, tables, report and charts are written by then. The
drawing engine can end the process that it runs in.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from sweeper.child_process import tell
from sweeper.errors import SweeperError
from sweeper.processes.report_maker import ReportAnswer, ReportRequest
from sweeper.reporting.compose import report_of
from sweeper.reporting.write import write_report
from sweeper.runfolder import RunFolder

# Training goes first: a report gets a quarter of a core while every core is busy. A process cannot
# take this back, so it is done only once trials train beside it.
NICENESS = 5


def answer(folder: RunFolder, no_charts: str = "", *, texts: bool = True) -> ReportAnswer:
    """Make the report of a run, without charts where ``no_charts`` says why."""
    began = time.monotonic()
    try:
        report = write_report(folder, report_of(folder, no_charts, texts=texts))
    except (SweeperError, OSError) as error:
        return ReportAnswer(seconds=time.monotonic() - began, error=str(error))
    except Exception as error:  # noqa: BLE001 - a bug in a report must not end the sweep
        said = f"{type(error).__name__}: {error}"
        return ReportAnswer(seconds=time.monotonic() - began, error=said)
    notes = (report.no_charts,) if report.no_charts and not no_charts else ()
    taken = time.monotonic() - began
    return ReportAnswer(seconds=taken, charts=not report.no_charts, notes=notes)


def serve(request: ReportRequest) -> None:
    """Make reports until no more are asked for."""
    folder, gentle = RunFolder(Path(request.run)), False
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            if line.strip() == "gently" and not gentle:
                gentle = True
                os.nice(NICENESS)
            made = answer(folder, request.no_charts, texts=request.texts)
            tell(**made.model_dump(mode="json"))
