"""Makes report and ``study.db`` in a child process, so that a sweep never waits for them.

The child is started once and reused. For each report it reads a line on standard input: ``gently``
while trials train, otherwise ``now``. When findings, report and charts are written, it answers with
a line of JSON. If the child dies, which the drawing engine may cause, a new one continues without
charts.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.artifact import Record
from sweeper.child_process import Child, outcome, start_child, tell
from sweeper.errors import SweeperError
from sweeper.reporting.document import Report
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec
from sweeper.specfile import resolve
from sweeper.textfiles import write_text

if TYPE_CHECKING:
    from sweeper.processes.study_file import StudyFile

# Reports take at most this share of the time while trials train.
MAX_TIME_SHARE = 0.05
# A report that takes longer is taken for a hang: a report of 500 trials takes seconds.
TIMEOUT_SECONDS = 300.0
LOG = "report.log"
_SERVE = "sweeper.processes.report_maker:serve"
# Training has priority: with this niceness, a report gets a quarter of a core while all cores are
# busy. A process cannot undo it, so it is only set once trials train.
NICENESS = 5


class ReportRequest(Record):
    """The arguments of the report process: the run and the contents of its report.

    Args:
        no_charts: Why no charts are drawn; empty to draw them.
        texts: Whether the report shows rows and answers.
        spec: The spec of the run, to write ``study.db`` too; None to leave it out.
    """

    run: str
    no_charts: str
    texts: bool
    spec: Spec | None = None


class ReportAnswer(Record):
    """The result of one request to the report process.

    Args:
        seconds: Its wall-clock seconds.
        no_charts: Why the report has no charts; empty if it has.
        error: Why there is no new report; None if there is one.
        no_study: Why ``study.db`` was not written; empty if it was.
    """

    seconds: float
    no_charts: str = ""
    error: str | None = None
    no_study: str = ""


@dataclass(eq=False)
class ReportMaker:
    """The report of one run, kept up to date by a child process.

    Args:
        texts: As in ``ReportRequest``.
        spec: As in ``ReportRequest``.
    """

    folder: RunFolder
    clock: Callable[[], float] = time.monotonic
    texts: bool = True
    spec: Spec | None = None
    no_charts: str = ""
    """Why the last report has no charts; empty if it has."""
    no_study: str = ""
    """Why ``study.db`` could not be written the last time; empty if it was."""
    _child: Child | None = None
    _sent_at: float | None = None
    _is_requested: bool = False
    _next_report_at: float = 0.0
    _failure_count: int = 0
    """Failed starts, and deaths without charts, since the last answer."""

    def __enter__(self) -> ReportMaker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def request(self) -> None:
        """Note that something changed, so that ``poll`` requests a report when it is due."""
        self._is_requested = True

    def poll(self) -> None:
        """Request a due report, or read the answer to a request. Returns at once; call it often."""
        if self._child is not None and self._sent_at is not None:
            if lines := self._child.lines():
                self._take_answer(lines[-1])
            elif self._child.closed or self.clock() - self._sent_at > TIMEOUT_SECONDS:
                self._handle_death(self._child, self._sent_at)
        # After two failures, no child is started until the end.
        elif (
            self._is_requested and self.clock() >= self._next_report_at and self._failure_count < 2
        ):
            self._is_requested = False
            self._send_request(gently=True)

    @property
    def busy(self) -> bool:
        """Whether a request was sent and not yet answered."""
        return self._sent_at is not None

    def finish(self, timeout: float = TIMEOUT_SECONDS, *, try_charts: bool = True) -> Report:
        """Make a report of the current state of the run, and wait for it.

        Args:
            try_charts: Whether to draw charts even if drawing has killed a process before, since
                more memory may be free now.

        Returns:
            The report.

        Raises:
            SweeperError: The run cannot be read.
            OSError: The run folder cannot be written.
        """
        self._await(timeout)
        self._is_requested = False
        if try_charts and self.no_charts:
            self.close()
            self.no_charts = ""
        # After a death, there is a second attempt without charts.
        for _ in range(1 if self.no_charts else 2):
            if not self._send_request(gently=False):
                break
            if (answer := self._await(timeout)) is None:
                continue
            if answer.error is None:
                with contextlib.suppress(SweeperError):
                    return Report.read(self.folder.report)
            self.no_charts = self.no_charts or f"no report was made: {answer.error}"
            break
        return self._make_in_this_process()

    @property
    def warning(self) -> str:
        """The warning to a user whose last report has no charts; empty if it has."""
        if not self.no_charts:
            return ""
        command = f"sweeper report {self.folder.quoted}"
        return (
            f"the report has no charts: {self.no_charts}. The drawing engine reserves up to 100 GB "
            "of address space (not of memory), which `ulimit -v` or a batch system may forbid. "
            f"Draw them without that limit: {command}"
        )

    def close(self) -> None:
        """End the child process at once. Files stay complete."""
        if self._child is not None:
            self._child.close()
        self._child = self._sent_at = None

    def _send_request(self, *, gently: bool) -> bool:
        """Send a request, to a new process if necessary; False if none can be started."""
        try:
            if self._child is None or self._child.status() is not None:
                self.close()
                self._child = start_child(_SERVE, self._request())
        except OSError:
            self._failure_count += 1
            return False
        self._child.send(b"gently\n" if gently else b"now\n")
        self._sent_at = self.clock()
        return True

    def _request(self) -> ReportRequest:
        run, no_charts = str(self.folder.path), self.no_charts
        return ReportRequest(run=run, no_charts=no_charts, texts=self.texts, spec=self.spec)

    def _await(self, timeout: float) -> ReportAnswer | None:
        """The answer of a busy child; None if there is no busy child, or if it died."""
        if self._child is None or self._sent_at is None:
            return None
        if lines := self._child.lines(timeout):
            return self._take_answer(lines[-1])
        self._handle_death(self._child, self._sent_at)
        return None

    def _take_answer(self, line: bytes) -> ReportAnswer:
        answer, self._sent_at = ReportAnswer.model_validate_json(line), None
        self._next_report_at = self.clock() + answer.seconds / MAX_TIME_SHARE
        self._failure_count = 0
        self.no_study = answer.no_study
        if answer.error is None:
            self.no_charts = answer.no_charts
        return answer

    def _handle_death(self, child: Child, sent_at: float) -> None:
        """Handle a child that died or hangs: the next child draws no charts."""
        seconds = self.clock() - sent_at
        no_answer = f"gave no answer for {seconds:.0f} s"
        end_text = outcome(child.process.wait()) if child.closed else no_answer
        self._next_report_at = self.clock() + seconds / MAX_TIME_SHARE
        self._is_requested = True
        if self.no_charts:
            self._failure_count += 1
        else:
            self.no_charts = f"the drawing process {end_text}"
        with contextlib.suppress(OSError):
            write_text(self.folder.path / LOG, child.last_errors())
        self.close()

    def _make_in_this_process(self) -> Report:
        """The report without a child process and without charts."""
        self.no_charts = self.no_charts or "the drawing process could not be started"
        request = self._request()
        self.no_study = _StudyWriter(request).write()
        return _make_report(request)


def _make_report(request: ReportRequest) -> Report:
    # Not at the top: the command's process rarely needs them.
    from sweeper.reporting.compose import report_of
    from sweeper.reporting.write import write_report

    folder = RunFolder(Path(request.run))
    return write_report(folder, report_of(folder, request.no_charts, texts=request.texts))


class _StudyWriter:
    """Writes ``study.db`` after each request, if the spec is given."""

    def __init__(self, request: ReportRequest) -> None:
        self._request = request
        self._file: StudyFile | None = None

    def write(self) -> str:
        """Write the file, and return why it could not be written; empty if it was."""
        if self._request.spec is None:
            return ""
        # Not at the top: a report is also made without Optuna.
        from sweeper.processes.study_file import StudyFile

        try:
            run = RunFolder(Path(self._request.run))
            self._file = self._file or StudyFile(run, self._request.spec)
            self._file.write()
        except Exception as error:  # noqa: BLE001 - a damaged file may raise anything
            return _error_text(error)
        return ""


def _answer(request: ReportRequest, study: _StudyWriter) -> ReportAnswer:
    start = time.monotonic()
    fields: dict[str, Any] = {"no_study": study.write()}
    try:
        fields["no_charts"] = _make_report(request).no_charts
    except Exception as error:  # noqa: BLE001 - a bug in a report must not end the sweep
        fields["error"] = _error_text(error)
    return ReportAnswer(seconds=time.monotonic() - start, **fields)


def _error_text(error: Exception) -> str:
    expected = isinstance(error, (SweeperError, OSError))
    return str(error) if expected else f"{type(error).__name__}: {error}"


def serve(request: ReportRequest) -> None:
    """Make reports in the child process until standard input ends."""
    gentle, study = False, _StudyWriter(request)
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            if line.strip() == "gently" and not gentle:
                gentle = True
                os.nice(NICENESS)
            tell(**_answer(request, study).model_dump(mode="json"))


def shows_texts(folder: RunFolder) -> bool:
    """Whether a run's sweep.yaml lets its report show rows; False if it cannot be read."""
    try:
        return not resolve({}, folder.spec).evaluation.no_texts
    except (SweeperError, OSError):
        return False
