"""One attempt at training: files, heartbeat, reports, and the boundary where exceptions end.

The only place that catches broadly: whatever training raises becomes a recorded end. Knows
nothing about what the result means for the study.
"""

from __future__ import annotations

import math
import traceback
from dataclasses import dataclass
from pathlib import Path

from sweeper.backend import Interrupted
from sweeper.execution import records
from sweeper.execution.bench import Bench
from sweeper.execution.claims import Claim
from sweeper.execution.events import now
from sweeper.execution.heartbeat import Heartbeat
from sweeper.execution.reporting import Reporter
from sweeper.trials import Failure, RungReport, TrialConfig, TrialResult


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
        """Train, and keep every file; nothing is said to the study."""
        folder = records.begin_attempt(self.target, self.config)
        reporter = Reporter(
            self.claim, self.target, folder, self.bench.should_stop, self._heard, self.prunes
        )
        started = now()
        try:
            with Heartbeat(self.claim):
                result = self.bench.backend.train(
                    self.config, folder, reporter, self.bench.should_stop
                )
        except Interrupted:
            return Interruption(reporter.superseded)
        except Exception as error:  # noqa: BLE001 - the trial boundary
            traceback.print_exc()
            return Breakdown(_last_line(error))
        result = self._completed(result, reporter, started)
        records.end_attempt(self.target, folder, result)
        return result

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
