"""Records sweeper's own trials for replay; stop it in any way, start it again, it goes on.

    python -m benchmarks.search.record --data DIR --out DIR [--tasks a,b] [--trials 300]

DIR holds the data sets by name. Each trial is one file ``OUT/TASK/trials/INDEX.npz``, written when
it has ended and never half. Seconds are of this process on the CPU, so that a busy or stopped
machine does not count; set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.design import Design, Planned
from benchmarks.search.table import BASE_FILE, write_trial
from benchmarks.search.tasks import RecordedTask, plan_of, tasks_named
from sweeper.backend import Decision
from sweeper.execution.next_attempt import configure
from sweeper.facts.machine.detect_hardware import processor
from sweeper.plans import Configuration, Plan
from sweeper.runfolder import ITEM_LOSSES
from sweeper.search.cost_model.untrained import BASE
from sweeper.tasks.task import Evaluation
from sweeper.training.loop.extension import ItemMeasure
from sweeper.training.torch_backend import TorchBackend
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import RungReport, TrialConfig, TrialResult

# Tasks take turns in blocks, so that all of them can be used early.
BLOCK = 30


@dataclass
class Curve:
    """What one trial showed, rung by rung."""

    steps: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    train_loss: list[float] = field(default_factory=list)
    training_seconds: list[float] = field(default_factory=list)
    evaluation_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    items: list[NDArray[np.float32]] = field(default_factory=list)
    began: float = field(default_factory=time.process_time)

    def add(self, report: RungReport) -> Decision:
        """Take in a rung."""
        self.steps.append(report.optimizer_steps)
        self.tokens.append(report.tokens)
        self.train_loss.append(np.nan if report.train_loss is None else report.train_loss)
        self.training_seconds.append(report.training_seconds)
        self.evaluation_seconds.append(report.evaluation_seconds)
        self.cpu_seconds.append(time.process_time() - self.began)
        return Decision.CONTINUE


@dataclass
class RecordedJob(TrialJob):
    """A job that keeps each item's loss at each rung."""

    curve: Curve = field(default_factory=Curve)

    def rung_report(
        self,
        rung: int,
        evaluation: Evaluation,
        train_loss: float | None,
        epochs: float,
        measured: Mapping[str, ItemMeasure] | None = None,
    ) -> RungReport:
        self.curve.items.append(np.asarray(evaluation.losses, dtype=np.float32))
        return super().rung_report(rung, evaluation, train_loss, epochs, measured)


class RecordedBackend(TorchBackend):
    """Sweeper's own backend, with curves."""

    def record(self, config: TrialConfig, folder: Path) -> tuple[TrialResult, Curve]:
        """Train a trial to its end."""
        curve = Curve()
        shared = self.shared(config.model)
        job = RecordedJob(shared, config, folder, curve.add, curve=curve)
        return train_trial(job), curve


class Recorder:
    """Records one task.

    Args:
        task: What to record.
        source: Folder of the data sets.
        out: Folder of all records.
    """

    def __init__(self, task: RecordedTask, source: Path, out: Path) -> None:
        self.task = task
        self.folder = out / task.name
        self.trials = self.folder / "trials"
        self.trials.mkdir(parents=True, exist_ok=True)
        data = self.folder / "data"
        task.write_rows(source, data)
        spec = task.spec(data)
        self.plan = self._frozen(lambda: plan_of(spec))
        self.design = Design(self.plan, task.name)
        self._backend = RecordedBackend(self.plan, spec)
        self._rung_items = min(task.rung_items, task.rows[1])

    def _frozen(self, make: Callable[[], Plan]) -> Plan:
        path = self.folder / "plan.json"
        if not path.is_file():
            make().write(path)
        return Plan.read(path)

    def missing(self, below: int) -> list[int]:
        """Indices that were not recorded yet."""
        return [index for index in range(below) if not self._file(index).is_file()]

    def _file(self, index: int) -> Path:
        return self.trials / f"{index:04d}.npz"

    def record(self, index: int) -> str:
        """Train one trial and write its file; returns a line for the log."""
        planned = self.design.planned(index)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            result, curve = self._backend.record(self._config(planned), folder)
            final = _final_items(folder, result)
        self._write(index, planned, result, curve, final)
        loss = result.validation_loss
        words = f"{loss:.4f}" if loss is not None else str(result.failure)
        return f"{self.task.name} {index} {planned.strategy} {words} {curve.cpu_seconds[-1:]}"

    def record_base(self) -> None:
        """Score the base model as it is, where texts are written, and keep each item's loss."""
        file = self.folder / BASE_FILE
        if self.task.written is None or file.is_file():
            return
        for _ in range(2):  # first to load what trials need too
            began = time.process_time()
            found = next(one for one in self._backend.baselines() if one.name == BASE)
            seconds = time.process_time() - began
        losses = np.asarray(found.item_losses, dtype=np.float32)
        write_trial(file, {"seconds": seconds, "machine": machine()}, {"final": losses})

    def train(self, planned: Planned) -> TrialResult:
        """Train a configuration and keep nothing of it."""
        with tempfile.TemporaryDirectory() as scratch:
            return self._backend.record(self._config(planned), Path(scratch))[0]

    def _config(self, planned: Planned) -> TrialConfig:
        candidate = self.plan.keyed[planned.strategy]
        config = configure(
            self.plan,
            Configuration(
                number=planned.index,
                strategy=candidate.strategy,
                model=candidate.model,
                parameters=planned.parameters,
                origin="search",
            ),
        )
        looks = {"rung_items": self._rung_items, "rung_every": 1}
        budget = config.budget.model_copy(update=looks)
        # A table may be recorded on several machines, not all of which multiply in bf16.
        precision = config.setup.precision if processor().bf16 else "fp32"
        update: dict[str, Any] = {"seed": planned.seed, "budget": budget, "keep_weights": False}
        return config.with_setup(precision=precision).model_copy(update=update)

    def _write(
        self, index: int, planned: Planned, result: TrialResult, curve: Curve, final: Any
    ) -> None:
        told = {
            "index": index,
            "strategy": planned.strategy,
            "parameters": planned.parameters,
            "seed": planned.seed,
            "state": result.state,
            "failure": result.failure.kind if result.failure else None,
            "validation_loss": result.validation_loss,
            "best_rung": result.best_rung,
            "metrics": result.metrics,
            "peak_memory_gib": result.peak_memory_gib,
            "setup_seconds": result.setup_seconds,
            "versions": result.versions,
            "precision": self._config(planned).setup.precision,
            "machine": machine(),
        }
        ended_early = result.state != "COMPLETE" or result.stopped_at_rung is not None
        reached = curve.items if ended_early else curve.items[:-1]
        # Where there are fewer steps than rungs, one below the last may be scored on all items.
        below = [items[: self._rung_items] for items in reached]
        arrays = {
            "rungs": np.asarray(below, dtype=np.float32),
            "final": np.asarray(final, dtype=np.float32),
            "steps": np.asarray(curve.steps),
            "tokens": np.asarray(curve.tokens),
            "train_loss": np.asarray(curve.train_loss),
            "training_seconds": np.asarray(curve.training_seconds),
            "evaluation_seconds": np.asarray(curve.evaluation_seconds),
            "cpu_seconds": np.asarray(curve.cpu_seconds),
        }
        write_trial(self._file(index), told, arrays)


@cache
def machine() -> str:
    """The processor's name; seconds of different ones are not to be mixed."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8").splitlines() if told.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def _final_items(folder: Path, result: TrialResult) -> list[float]:
    if result.item_losses is None:
        return []
    losses: list[float] = json.loads((folder / ITEM_LOSSES).read_text("utf-8"))["losses"]
    return losses


def run(recorders: list[Recorder], trials: int) -> None:
    """Record block by block, task by task, to the end."""
    for below in range(BLOCK, trials + BLOCK, BLOCK):
        for recorder in recorders:
            recorder.record_base()
            for index in recorder.missing(min(below, trials)):
                print(recorder.record(index), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.record")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="where records go")
    parser.add_argument("--tasks", default="", help="comma-separated; all by default")
    parser.add_argument("--trials", type=int, default=300, help="of each task, in all")
    chosen = parser.parse_args()
    names = [name for name in chosen.tasks.split(",") if name]
    run([Recorder(task, chosen.data, chosen.out) for task in tasks_named(names)], chosen.trials)


if __name__ == "__main__":
    main()
