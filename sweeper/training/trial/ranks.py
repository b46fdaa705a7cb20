"""Starts the processes that train one trial together, and ends all of them when one ends badly.

Each has one GPU; on a CPU they speak through gloo. Passes reports on and decisions back. Knows
processes and files; how a rank trains is ``rank``.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch

from sweeper.artifact import Artifact
from sweeper.backend import Decision, Interrupted
from sweeper.errors import UsageError
from sweeper.plan import Plan
from sweeper.spec import Spec
from sweeper.training.loop.out_of_memory import Batching, MemoryGuard, TrialPhase
from sweeper.trials import RungReport, TrialConfig, TrialResult

REQUEST = "request.json"

_LOOK_EVERY_SECONDS = 0.1
# How long a process may take to end by itself once it was told to.
_PATIENCE_SECONDS = 5.0


class RankRequest(Artifact):
    """What the ranks are to train, and in which run."""

    plan: Plan
    spec: Spec
    config: TrialConfig
    run: str | None = None


def own_folder(folder: Path, rank: int) -> Path:
    """Where a rank writes what a trial leaves behind."""
    return folder / f"rank-{rank}"


def result_file(folder: Path, rank: int) -> Path:
    """Where a rank writes how its part ended."""
    return folder / f"result-{rank}.json"


def read_result(folder: Path, rank: int) -> TrialResult | None:
    """How a rank's part ended, if it came so far."""
    path = result_file(folder, rank)
    return TrialResult.read(path) if path.is_file() else None


def check_device(config: TrialConfig) -> None:
    """Check that this machine can train the trial.

    Raises:
        UsageError: It has too few GPUs, or none where the model's parts are to be spread.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.sharding != "none" and not gpus:
        raise UsageError(
            "FSDP spreads a model over GPUs, and there is none here",
            why="On a CPU the Trainer would run DDP in its place without a word.",
            fix="Run this trial where there are GPUs.",
        )
    if gpus and config.gpus > gpus:
        raise UsageError(
            f"the trial wants {config.gpus} GPUs, and there are {gpus}",
            fix="Plan for this machine, or run the worker on one with more GPUs.",
        )


@dataclass
class Ranks:
    """One trial on several devices.

    Args:
        plan: Frozen.
        spec: What the user asked for.
        config: What to train; ``gpus`` says how many processes.
        folder: Of the attempt.
        report: Told of each rung once.
        should_stop: Asked all the time.
        run: The run's folder, if it has one.
    """

    plan: Plan
    spec: Spec
    config: TrialConfig
    folder: Path
    report: Callable[[RungReport], Decision]
    should_stop: Callable[[], bool]
    run: Path | None = None
    _processes: list[subprocess.Popen[str]] = field(default_factory=list)
    _listener: threading.Thread | None = None
    _reported: int = 0

    def train(self, config: TrialConfig) -> TrialResult:
        """Train until all ranks have ended well or one has not.

        Args:
            config: The trial's, perhaps with a smaller micro-batch.

        Raises:
            Interrupted: It was told to stop.
            RuntimeError: A rank ended without a result.
            UsageError: This cannot be done here.
            torch.OutOfMemoryError: A rank ran out of memory.
        """
        check_device(config)
        place = self.folder / "ranks"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        run = None if self.run is None else str(self.run.resolve())
        request = RankRequest(plan=self.plan, spec=self.spec, config=config, run=run)
        request.write(place / REQUEST)
        self._processes.clear()
        try:
            self._start(place)
            self._watch(place)
        finally:
            self._end_all()
        return self._result(place)

    def _start(self, place: Path) -> None:
        port, command = _free_port(), [sys.executable, "-m", "sweeper.training.rank"]
        for rank in range(self.config.gpus):
            with (place / f"rank-{rank}.log").open("w", encoding="utf-8") as log:
                self._processes.append(
                    subprocess.Popen(
                        [*command, str(place.resolve()), str(os.getpid())],
                        env=_environment(rank, self.config.gpus, port),
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE if rank == 0 else log,
                        stderr=log,
                        text=True,
                    )
                )

    def _watch(self, place: Path) -> None:
        lines: queue.Queue[str] = queue.Queue()
        first = self._processes[0]
        assert first.stdout is not None
        self._listener = threading.Thread(target=_listen, args=(first.stdout, lines), daemon=True)
        self._listener.start()
        while any(process.poll() is None for process in self._processes):
            if self.should_stop():
                raise Interrupted
            with contextlib.suppress(queue.Empty):
                self._answer(lines.get(timeout=_LOOK_EVERY_SECONDS))
            bad = [n for n, process in enumerate(self._processes) if process.poll()]
            if bad:
                self._blame(place, bad)
                return

    def _answer(self, line: str) -> None:
        report = RungReport.from_json(line)
        decision = Decision.CONTINUE
        if report.rung > self._reported:
            self._reported = report.rung
            decision = self.report(report)
        if decision is Decision.STOP:
            raise Interrupted
        pipe = self._processes[0].stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.write(decision.value + "\n")
            pipe.flush()

    def _blame(self, place: Path, bad: list[int]) -> None:
        """Raise for a rank that ended without a result; those with one say why themselves."""
        if any(read_result(place, rank) is not None for rank in bad):
            return
        rank = bad[0]
        log = (place / f"rank-{rank}.log").read_text(encoding="utf-8", errors="replace")
        last = (log.strip().splitlines() or ["no message"])[-1]
        status = self._processes[rank].returncode
        raise RuntimeError(f"rank {rank} of {self.config.gpus} ended with status {status}: {last}")

    def _end_all(self) -> None:
        """No rank outlives the trial: the others would wait for the one that is gone."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + _PATIENCE_SECONDS
        for process in self._processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._listener is not None:
            self._listener.join()  # the first rank is gone, so its pipe has an end
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def _result(self, place: Path) -> TrialResult:
        found = [read_result(place, rank) for rank in range(self.config.gpus)]
        results = [result for result in found if result is not None]
        failed = next((result for result in results if result.state == "FAIL"), None)
        if failed is not None:
            if failed.failure is not None and failed.failure.kind == "out-of-memory":
                raise torch.OutOfMemoryError(f"CUDA out of memory: {failed.failure.detail}")
            return failed
        peaks = [r.peak_memory_gib for r in results if r.peak_memory_gib is not None]
        self._take(own_folder(place, 0))
        return results[0].model_copy(
            update={
                "tokens": sum(result.tokens for result in results),
                "replay_tokens": sum(result.replay_tokens for result in results),
                "peak_memory_gib": max(peaks, default=None),
            }
        )

    def _take(self, first: Path) -> None:
        """What the first rank left becomes the attempt's."""
        for path in first.iterdir():
            if path.name != "trainer.log":
                shutil.move(str(path), str(self.folder / path.name))


def _listen(pipe: IO[str], lines: queue.Queue[str]) -> None:
    for line in pipe:
        lines.put(line)


def _environment(rank: int, world: int, port: int) -> dict[str, str]:
    """As torch.distributed reads it; the machine's threads are divided between the ranks."""
    return os.environ | {
        "OMP_NUM_THREADS": str(max(1, torch.get_num_threads() // world)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def train_in_ranks(ranks: Ranks, guard: MemoryGuard, setup: str) -> TrialResult:
    """Train on several devices; where memory runs out on one, all begin again with less.

    Args:
        ranks: The trial.
        guard: Knows which micro-batches fitted before.
        setup: Names all that memory depends on, batches aside.

    Raises:
        Interrupted: It was told to stop.
        TooLarge: It does not fit at one example on each device either.
    """
    config = ranks.config

    def attempt(batching: Batching, phase: TrialPhase) -> TrialResult:
        return ranks.train(
            config.model_copy(
                update={
                    "micro_batch": batching.micro,
                    "gradient_accumulation_steps": batching.accumulation,
                    "evaluation_batch": batching.evaluation,
                }
            )
        )

    planned = Batching(
        config.micro_batch, config.gradient_accumulation_steps, config.evaluation_batch
    )
    return guard.run(setup, planned, attempt)
