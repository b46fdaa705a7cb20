"""Records sweeper's own trials for replay; stop it in any way, start it again, it goes on.

    python -m benchmarks.search.record --data DIR --out DIR [--tasks a,b] [--trials 300]

DIR holds the data sets by name. Each trial is added to the task's table, ``TABLES/TASK.npz``, when
it has ended. Seconds are of this process on the CPU, so that a busy or stopped machine does not
count; set OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.design import Design, Planned
from benchmarks.search.table import TABLES, StoredTable, StoredTrial, read_stored, write
from benchmarks.search.tasks import TASKS, RecordedTask
from sweeper.backend import Decision
from sweeper.execution.next_attempt import configure
from sweeper.facts.gather import gather
from sweeper.facts.machine.hardware import processor
from sweeper.planning.planner import make_plan
from sweeper.plans import Configuration, Plan
from sweeper.runfolder import ITEM_LOSSES
from sweeper.search.cost_model.trial_costs import BASE
from sweeper.tasks.task import Evaluation
from sweeper.training.loop.extension import ItemMeasure
from sweeper.training.torch_backend import TorchBackend
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import RungReport, TrialConfig, TrialResult

# Tasks take turns in blocks, so that all of them can be used early.
BLOCK = 30


@dataclass
class RecordedJob(TrialJob):
    """A job that keeps the process's CPU seconds and each item's loss at each rung."""

    items: list[NDArray[np.float32]] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    began: float = field(default_factory=time.process_time)

    def rung_report(
        self,
        rung: int,
        evaluation: Evaluation,
        train_loss: float | None,
        epochs: float,
        measured: Mapping[str, ItemMeasure] | None = None,
    ) -> RungReport:
        self.items.append(np.asarray(evaluation.losses, dtype=np.float32))
        self.cpu_seconds.append(time.process_time() - self.began)
        return super().rung_report(rung, evaluation, train_loss, epochs, measured)


class Recorder:
    """Records one task.

    Args:
        task: What to record.
        source: Folder of the data sets.
        out: Folder for the rows of all tasks and for models with fewer layers.
        tables: Folder of the tables.
    """

    def __init__(self, task: RecordedTask, source: Path, out: Path, tables: Path = TABLES) -> None:
        self.task = task
        self._file = tables / f"{task.name}.npz"
        data = out / task.name
        task.write_rows(source, data)
        spec = task.spec(data)
        # A table holds no paths, so that it names a local model without its folder.
        model = spec.models[0].id
        if self._file.is_file():
            self._stored = read_stored(self._file)
            text = json.dumps(self._stored.plan).replace(f'"{Path(model).name}"', f'"{model}"')
            self.plan = Plan.from_json(text)
        else:
            self.plan = make_plan(spec, gather(spec))
            plan = json.loads(self.plan.to_json().replace(f"{out}/", ""))
            plan["facts"]["data"]["path"] = task.name
            for facts in plan["facts"]["models"]:
                facts["folder"] = None
            self._stored = StoredTable(plan, [])
        self._design = Design(self.plan, task.name)
        self._backend = TorchBackend(self.plan, spec)
        self._rung_items = min(task.rung_items, task.rows[1])

    def missing(self, below: int) -> list[int]:
        """Indices that were not recorded yet."""
        recorded = {trial.fields["index"] for trial in self._stored.trials}
        return [index for index in range(below) if index not in recorded]

    def record(self, index: int) -> str:
        """Train one trial and add it to the table; returns a line for the log."""
        planned = self._design.planned(index)
        config = self._config(planned)
        with tempfile.TemporaryDirectory() as scratch:
            shared = self._backend.shared(config.model)
            job = RecordedJob(shared, config, Path(scratch), lambda _: Decision.CONTINUE)
            result = train_trial(job)
            final = _final_items(Path(scratch), result)
        trials = [*self._stored.trials, self._stored_trial(planned, config, result, job, final)]
        trials.sort(key=lambda trial: trial.fields["index"])
        self._stored = self._stored._replace(trials=trials)
        write(self._file, self._stored)
        loss = result.validation_loss
        words = f"{loss:.4f}" if loss is not None else str(result.failure)
        return f"{self.task.name} {index} {planned.strategy} {words} {job.cpu_seconds[-1:]}"

    def record_base(self) -> None:
        """Score the base model as it is, where texts are written, and keep each item's loss."""
        if self.task.written is None or self._stored.base is not None:
            return
        for _ in range(2):  # first to load what trials need too
            began = time.process_time()
            base = next(one for one in self._backend.baselines() if one.name == BASE)
            seconds = time.process_time() - began
        fields = {"seconds": seconds, "machine": machine()}
        stored = StoredTrial(fields, {"final": np.asarray(base.item_losses)})
        self._stored = self._stored._replace(base=stored)

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

    def _stored_trial(
        self,
        planned: Planned,
        config: TrialConfig,
        result: TrialResult,
        job: RecordedJob,
        final: list[float],
    ) -> StoredTrial:
        fields = {
            "index": planned.index,
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
            "precision": config.setup.precision,
            "machine": machine(),
        }
        ended_early = result.state != "COMPLETE" or result.stopped_at_rung is not None
        reached = job.items if ended_early else job.items[:-1]
        # Where there are fewer steps than rungs, one below the last may be scored on all items.
        below = [items[: self._rung_items] for items in reached]
        reports = job.reports
        arrays = {
            "rungs": np.asarray(below),
            "final": np.asarray(final),
            "steps": np.asarray([report.optimizer_steps for report in reports]),
            "training_seconds": np.asarray([report.training_seconds for report in reports]),
            "evaluation_seconds": np.asarray([report.evaluation_seconds for report in reports]),
            "cpu_seconds": np.asarray(job.cpu_seconds),
        }
        return StoredTrial(fields, arrays)


@cache
def machine() -> str:
    """The processor's name; seconds of different ones are not to be mixed."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def _final_items(folder: Path, result: TrialResult) -> list[float]:
    if result.item_losses is None:
        return []
    losses: list[float] = json.loads((folder / ITEM_LOSSES).read_text("utf-8"))["losses"]
    return losses


def main() -> None:
    """Record block by block, task by task, to the end."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.record")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, help="where rows and models go")
    parser.add_argument("--tasks", default=",".join(TASKS), help="separated by commas")
    parser.add_argument("--trials", type=int, default=300, help="of each task, in all")
    parser.add_argument("--tables", type=Path, default=TABLES)
    chosen = parser.parse_args()
    tasks = [TASKS[name] for name in chosen.tasks.split(",")]
    recorders = [Recorder(task, chosen.data, chosen.out, chosen.tables) for task in tasks]
    for below in range(BLOCK, chosen.trials + BLOCK, BLOCK):
        for recorder in recorders:
            recorder.record_base()
            for index in recorder.missing(min(below, chosen.trials)):
                print(recorder.record(index), flush=True)


if __name__ == "__main__":
    main()
