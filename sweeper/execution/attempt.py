"""One attempt at training: files, heartbeat, reports, and the boundary where exceptions end.

The only place that catches broadly: whatever training raises becomes a recorded end. Knows
nothing about what the result means for the study.
"""

from __future__ import annotations

import contextlib
import math
import os
import traceback
from dataclasses import dataclass
from pathlib import Path

from sweeper.backend import Decision, Interrupted
from sweeper.execution import records
from sweeper.execution.bench import UNSOUND, Bench
from sweeper.execution.claims import Claim
from sweeper.execution.disk import NoRoom, no_room
from sweeper.execution.endings import note_end
from sweeper.execution.events import now
from sweeper.execution.heartbeat import Heartbeat
from sweeper.execution.reporting import Reporter
from sweeper.execution.watchdog import Pulse, Watchdog, patience_for, show_where
from sweeper.trials import AttemptEndKind, Failure, RungReport, TrialConfig, TrialResult


@dataclass(frozen=True)
class Interruption:
    """The attempt was told to stop; ``superseded`` if somebody else has the work now."""

    superseded: bool


@dataclass(frozen=True)
class Breakdown:
    """The attempt ended with an exception, which is a bug or a broken machine."""

    detail: str


@dataclass
class Attempt:
    """One attempt at one configuration, in ``target``'s folder of attempts."""

    bench: Bench
    claim: Claim
    config: TrialConfig
    target: Path
    job: str = ""
    prunes: bool = True

    def run(self) -> TrialResult | Interruption | Breakdown:
        """Train, and keep every file; nothing is said to the study.

        Raises:
            NoRoom: The disk is full, which is not the trial's fault.
            StorageGone: The storage was away for too long.
        """
        if not self.claim.held():  # stopped since it was claimed: the folder is another's now
            return Interruption(superseded=True)
        folder = records.begin_attempt(self.target, self.config)
        reporter = Reporter(
            self.claim, self.target, folder, self.bench.should_stop, self._heard, self.prunes
        )
        started = now()
        try:
            result = self._train(folder, reporter)
        except Interrupted:
            if reporter.gone is not None:
                raise reporter.gone from None
            self._note_stop(folder, reporter.superseded)
            return Interruption(reporter.superseded)
        except Exception as error:
            traceback.print_exc()
            self._note(folder, "disk-full" if no_room(error) else "error", _last_line(error))
            if no_room(error):
                raise NoRoom(_last_line(error)) from error
            return Breakdown(_last_line(error))
        if result.failure is not None and result.failure.kind == "disk-full":
            self._note(folder, "disk-full", result.failure.detail)
            raise NoRoom(result.failure.detail)
        result = self._completed(result, reporter, started)
        if records.end_attempt(self.target, folder, result, self.claim.held):
            return result
        self._note_stop(folder, superseded=True)
        return Interruption(superseded=True)

    def _train(self, folder: Path, reporter: Reporter) -> TrialResult:
        pulse = Pulse()

        def should_stop() -> bool:
            pulse.beat()
            return self.bench.should_stop()

        def report(known: RungReport) -> Decision:
            pulse.beat()
            answer = reporter(known)
            pulse.beat()
            return answer

        patience = patience_for(self.bench.plan, self.config)
        with (
            Heartbeat(self.claim),
            Watchdog(pulse, patience, lambda why: self._hangs(folder, why)),
        ):
            return self.bench.backend.train(self.config, folder, report, should_stop)

    def _hangs(self, folder: Path, why: str) -> None:
        # The thread that trains may hold any lock: nothing is said to the study. Whoever watches
        # sees that this process is gone, and finds the reason here.
        self._note(folder, "hang", why)
        show_where()
        os._exit(UNSOUND)

    def _note_stop(self, folder: Path, superseded: bool) -> None:
        if superseded:
            self._note(folder, "superseded", "another worker had taken it over")
        else:
            self._note(folder, "interrupted", "the worker was told to stop")

    def _note(self, folder: Path, kind: AttemptEndKind, detail: str) -> None:
        records.drop_leftovers(folder)
        with contextlib.suppress(OSError):  # on a full disk the reason is told by the command
            note_end(folder, kind, detail, worker=self.bench.owner)

    def _heard(self, report: RungReport) -> None:
        self.bench.say(
            "rung",
            trial=self.config.number,
            attempt=self.config.attempt,
            job=self.job,
            strategy=self.config.strategy,
            rung=report.rung,
            rungs=self.config.budget.rungs,
            optimizer_steps=report.optimizer_steps,
            validation_loss=report.validation_loss,
            seconds=report.training_seconds + report.evaluation_seconds,
        )

    def _completed(self, result: TrialResult, reporter: Reporter, started: str) -> TrialResult:
        fields: dict[str, object] = {
            "worker": self.bench.owner,
            "started_at": result.started_at or started,
            "ended_at": result.ended_at or now(),
        }
        if result.state == "PRUNED":
            fields["pruned_because"] = result.pruned_because or reporter.because
        loss = result.validation_loss
        if result.state == "COMPLETE" and (loss is None or not math.isfinite(loss)):
            fields |= {"state": "FAIL", "validation_loss": None, "failure": _no_loss(loss)}
        return result.model_copy(update=fields)


def _no_loss(loss: float | None) -> Failure:
    if loss is None:
        return Failure(kind="error", detail="the backend gave no validation loss")
    return Failure(kind="diverged", detail=f"the validation loss is {loss}")


def _last_line(error: Exception) -> str:
    return traceback.format_exception_only(error)[-1].strip()
