"""One rank: one of several processes that train a trial together.

Torch's launcher numbers the ranks in environment variables. Rank 0 reports rungs, reads
decisions and saves weights.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from sweeper.backend import Decision, no_progress
from sweeper.facts.record import TrainingSetup
from sweeper.textfiles import write_text
from sweeper.training.loop.checkpointing import Saved
from sweeper.training.loop.device_memory import is_out_of_memory, shortage
from sweeper.training.torch_backend import TorchBackend
from sweeper.training.trial.ranks import (
    POLL_SECONDS,
    PROGRESS,
    REPORT,
    RESULT,
    RankRequest,
    decision_file,
    folder_of_rank,
)
from sweeper.training.trial.train import TrainWithSetup, train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import RungReport, TrialResult


def only_once(setup: TrainingSetup, train_once: TrainWithSetup, _: object) -> TrialResult:
    """Train without retry: if one rank began again, the others would wait for it.

    Raises:
        TooLarge: Memory ran out.
    """
    try:
        return train_once(setup)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise shortage(error) from error


def tell(folder: Path, report: RungReport) -> Decision:
    """Report a rung for all ranks, and return the same decision on each.

    Args:
        folder: Folder of rank 0's report and of the decision on it.
    """
    decision: list[Any] = [None]
    if dist.get_rank() == 0:
        report.write(folder / f"{REPORT}{report.rung}.json")
        decision_path = decision_file(folder, report.rung)
        while not decision_path.exists():
            time.sleep(POLL_SECONDS)
        decision = [decision_path.read_text(encoding="utf-8")]
    dist.broadcast_object_list(decision, src=0)
    return Decision(decision[0])


def _write_progress(folder: Path, what: str, done: int, of: int) -> None:
    write_text(folder / PROGRESS, json.dumps([what, done, of]))


def _device() -> torch.device:
    """The device of this rank, for its copy of the model and for communication."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def train(request: RankRequest) -> None:
    """Train this rank's part, and end this process with 0 if the trial completed or was pruned."""
    status = _train(request)
    sys.stdout.flush()
    sys.stderr.flush()
    # Other ranks may have ended already; destroying the process group would wait for them.
    os._exit(status)


def _train(request: RankRequest) -> int:
    folder, rank = Path(request.folder), int(os.environ["RANK"])
    device = _device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    saves = request.config.keep_weights and rank == 0
    config = request.config.model_copy(update={"keep_weights": saves})
    run = Path(request.run) if request.run else None
    on_progress = partial(_write_progress, folder) if rank == 0 else no_progress
    backend = TorchBackend(request.plan, request.spec, run, device, on_progress)
    rank_folder = folder_of_rank(folder, rank)
    rank_folder.mkdir(parents=True, exist_ok=True)
    shared = backend.shared_for(config)
    job = TrialJob(shared, config, rank_folder, partial(tell, folder), run)
    job.checkpoints_folder, job.setup = Path(request.attempt), request.setup
    if request.checkpoint is not None:
        job.continue_from(Saved.at(Path(request.checkpoint)))
    result = train_trial(job, only_once)
    result.write(rank_folder / RESULT)
    if result.state == "FAIL":
        return 1
    dist.barrier()
    return 0
