"""One trial on several devices: starts a rank on each with torch's launcher.

Each rank has one GPU; on a CPU ranks communicate through gloo. Reports and decisions are files in
the attempt's folder. ``training.rank`` is the process of a rank, and ``training.launch`` starts and
ends ranks.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sweeper.artifact import Artifact
from sweeper.backend import Interrupted
from sweeper.child_process import Child, start_child
from sweeper.errors import UsageError
from sweeper.facts.record import TrainingSetup
from sweeper.plans import Plan
from sweeper.spec import Spec
from sweeper.textfiles import json_value, write_text
from sweeper.training.launch import FAILURE, LOGS, SHUTDOWN_SECONDS, LaunchRequest, RankFailure
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import RungReport, Seen, TrialConfig, TrialResult

# In the folder of all ranks: ``REPORT`` is followed by the rung.
REQUEST, REPORT, PROGRESS = "request.json", "report-", "progress.json"
# In the folder of one rank.
RESULT = "rank-result.json"

# Interval at which files of reports and decisions are looked for.
POLL_SECONDS = 0.1

TRAINER_LOG = "trainer.log"
_LAUNCH, _LAUNCHER_LOG = "sweeper.training.launch:launch", "launcher.log"


class RankRequest(Artifact):
    """The trial that the ranks train, and its run.

    ``setup`` is the config's, with smaller batches if memory ran out. ``folder`` is the
    folder of all ranks, ``attempt`` the folder for checkpoints, and ``checkpoint`` the checkpoint
    to continue from.
    """

    plan: Plan
    spec: Spec
    config: TrialConfig
    setup: TrainingSetup
    folder: str
    attempt: str
    run: str | None = None
    checkpoint: str | None = None


def folder_of_rank(folder: Path, rank: int) -> Path:
    """The folder in which a rank writes the trial's files and its result."""
    return folder / f"rank-{rank}"


def decision_file(folder: Path, rung: int) -> Path:
    """The file with the decision on a rung."""
    return folder / f"decision-{rung}"


def check_device(config: TrialConfig) -> None:
    """Check that this machine can train the trial.

    Raises:
        UsageError: The machine has too few GPUs.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus and config.setup.gpus > gpus:
        raise UsageError(
            f"the trial needs {config.setup.gpus} GPUs, and there are {gpus}",
            fix="Plan for this machine, or run the worker on one with more GPUs.",
        )


@dataclass
class Ranks:
    """One trial on several devices.

    Args:
        job: The trial; the first call continues from its checkpoint, if it has one.
        plan: Plan by which the ranks load models.
    """

    job: TrialJob
    plan: Plan

    def train(self, setup: TrainingSetup) -> TrialResult:
        """Train with this set-up until all ranks have finished or one has failed.

        Raises:
            Interrupted: The trial was told to stop.
            RuntimeError: A rank ended without a result.
            UsageError: The machine has too few GPUs.
            torch.OutOfMemoryError: A rank ran out of memory.
        """
        job = self.job
        check_device(job.config)
        folder = job.folder / "ranks"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = None if job.run is None else str(job.run.resolve())
        saved, job.saved = job.saved, None
        request = RankRequest(
            plan=self.plan,
            spec=job.context.spec,
            config=job.config,
            setup=setup,
            folder=str(folder.resolve()),
            attempt=str(job.folder.resolve()),
            run=run,
            checkpoint=str(saved.folder.resolve()) if saved else None,
        )
        request.write(folder / REQUEST)
        launcher = self._start(folder)
        try:
            self._watch(launcher, folder)
        finally:
            _end_launcher(launcher)
            self._gather_logs(folder)
        return self._result(folder, launcher.process.returncode)

    def _start(self, ranks_folder: Path) -> Child:
        ranks, folder = self.job.config.setup.gpus, str(ranks_folder.resolve())
        request = LaunchRequest(ranks=ranks, folder=folder, command=tuple(rank_command(folder)))
        environment, log = _environment(ranks), ranks_folder / _LAUNCHER_LOG
        return start_child(_LAUNCH, request, env=environment, errors=log)

    def _watch(self, launcher: Child, folder: Path) -> None:
        while launcher.process.poll() is None:
            if self.job.context.on_progress.should_stop():
                raise Interrupted
            if (progress := folder / PROGRESS).is_file():
                self.job.context.on_progress(*json_value(progress.read_text(encoding="utf-8")))
            for path in folder.glob(f"{REPORT}*.json"):
                report = RungReport.read(path)
                self.job.add_report(report)
                write_text(decision_file(folder, report.rung), self.job.tell(report).value)
                path.unlink()
            time.sleep(POLL_SECONDS)

    def _gather_logs(self, folder: Path) -> None:
        with (self.job.folder / TRAINER_LOG).open("a", encoding="utf-8") as log:
            for rank in range(self.job.config.setup.gpus):
                for path in (folder_of_rank(folder, rank) / TRAINER_LOG, *_output(folder, rank)):
                    log.writelines(f"rank {rank}: {line}\n" for line in _lines(path))
            log.writelines(f"launcher: {line}\n" for line in _lines(folder / _LAUNCHER_LOG))

    def _result(self, folder: Path, status: int) -> TrialResult:
        ranks = range(self.job.config.setup.gpus)
        read_results = [
            TrialResult.read_or_none(folder_of_rank(folder, rank) / RESULT) for rank in ranks
        ]
        results = [result for result in read_results if result is not None]
        failed = next((result for result in results if result.state == "FAIL"), None)
        if failed is not None:
            failure = failed.failure
            if failure and failure.kind == "out-of-memory" and not failure.loading:
                raise torch.OutOfMemoryError(f"CUDA out of memory: {failure.detail}")
            return failed
        if status != 0:
            raise RuntimeError(self._failure_message(folder, status))
        peaks = [r.peak_memory_gib for r in results if r.peak_memory_gib is not None]
        self._move_files(folder_of_rank(folder, 0))
        shutil.rmtree(folder)
        return results[0].model_copy(
            update={
                "tokens": sum(result.tokens for result in results),
                "seen": _total_seen(results),
                "peak_memory_gib": max(peaks, default=None),
            }
        )

    def _failure_message(self, folder: Path, status: int) -> str:
        """A message with the rank that failed first, and the last line of its output."""
        ranks = self.job.config.setup.gpus
        if not (folder / FAILURE).is_file():
            last = (_lines(folder / _LAUNCHER_LOG) or ["no message"])[-1]
            return f"the launcher of {ranks} ranks ended with status {status}: {last}"
        first = RankFailure.read(folder / FAILURE)
        lines = [line for path in _output(folder, first.rank) for line in _lines(path)]
        last = (lines or ["no message"])[-1]
        return f"rank {first.rank} of {ranks} ended with status {first.status}: {last}"

    def _move_files(self, rank_folder: Path) -> None:
        for path in rank_folder.iterdir():
            if path.name not in (TRAINER_LOG, RESULT):
                shutil.move(str(path), str(self.job.folder / path.name))


def _total_seen(results: Sequence[TrialResult]) -> dict[str, Seen]:
    """Rows and tokens by source, summed over all ranks."""
    totals: dict[str, Seen] = {}
    for result in results:
        for name, seen in result.seen.items():
            total = totals.get(name, Seen(rows=0, tokens=0))
            totals[name] = Seen(rows=total.rows + seen.rows, tokens=total.tokens + seen.tokens)
    return totals


def rank_command(folder: str) -> list[str]:
    """The command of each rank, as arguments of Python."""
    request = str(Path(folder) / REQUEST)
    return ["-m", "sweeper.child", "--request", request, "sweeper.training.rank:train"]


def _end_launcher(launcher: Child) -> None:
    """End the launcher, which ends all ranks.

    If it must be killed, Linux kills the ranks with it (``child_process.die_with``).
    """
    launcher.process.terminate()
    launcher.wait(2 * SHUTDOWN_SECONDS)
    launcher.close()


def _output(folder: Path, rank: int) -> list[Path]:
    """A rank's standard output and standard error."""
    return sorted((folder / LOGS).glob(f"*/attempt_0/{rank}/std*.log"), reverse=True)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").strip().splitlines()


def _environment(ranks: int) -> dict[str, str]:
    """Environment variables of a rank, with its share of the machine's threads."""
    threads = max(1, torch.get_num_threads() // ranks)
    return os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
