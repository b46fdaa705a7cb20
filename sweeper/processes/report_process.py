"""``python -m sweeper.processes.report_process RUN``: makes a run's report again and again.

Reads one line for each request on standard input (``gently`` while trials train, else ``now``) and
answers each with one line of JSON on standard output. Findings, tables, report and charts are
written by then. A child process of its own, since the drawing engine can end the process that it
runs in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TextIO

from sweeper.child_process import die_with
from sweeper.errors import SweeperError
from sweeper.processes.report_maker import ReportAnswer
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


def serve(
    requests: TextIO, answers: TextIO, folder: RunFolder, no_charts: str, *, texts: bool = True
) -> None:
    """Answer requests until there are none."""
    gentle = False
    for request in requests:
        if request.strip() == "gently" and not gentle:
            gentle = True
            os.nice(NICENESS)
        print(answer(folder, no_charts, texts=texts).model_dump_json(), file=answers, flush=True)


def main() -> None:
    """Serve the process that started this one, and end with it."""
    parser = argparse.ArgumentParser(prog="python -m sweeper.processes.report_process")
    parser.add_argument("run", type=Path, help="The run's folder.")
    parser.add_argument("--no-charts", default="", metavar="WHY", help="Draw none; why not.")
    parser.add_argument("--no-texts", action="store_true", help="Show no rows and no answers.")
    parser.add_argument("--parent", type=int, help="End when this process does.")
    chosen = parser.parse_args()
    if chosen.parent is not None:
        die_with(chosen.parent)
    # What a library prints must not look like an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with contextlib.suppress(BrokenPipeError):
        run, texts = RunFolder(chosen.run), not chosen.no_texts
        serve(sys.stdin, answers, run, chosen.no_charts, texts=texts)


if __name__ == "__main__":
    main()
