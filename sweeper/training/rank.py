"""One of several processes that train a trial together.

The environment that torch's launcher sets says which process it is. The first one reports, reads
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

from sweeper.artifact import write_text
from sweeper.backend import Decision
from sweeper.training.loop.checkpointing import Saved
from sweeper.training.loop.device_memory import Batching, is_out_of_memory, shortage
from sweeper.training.torch_backend import TorchBackend
from sweeper.training.trial.ranks import (
    LOOK_EVERY_SECONDS,
    PROGRESS,
    REPORT,
    RESULT,
    RankRequest,
    decision_file,
    own_folder,
)
from sweeper.training.trial.train import Attempt, train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import RungReport, TrialResult


def only_once(batching: Batching, attempt: Attempt, _: object) -> TrialResult:
    """Train with these batches: if a rank began again by itself, the others would wait for it.

    Raises:
        TooLarge: Memory ran out.
    """
    try:
        return attempt(batching)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise shortage(error) from error


def tell(folder: Path, report: RungReport) -> Decision:
    """Report for all ranks, and give each the same answer.

    Args:
        folder: Takes the first rank's report and holds the answer.
    """
    answer: list[Any] = [None]
    if dist.get_rank() == 0:
        report.write(folder / f"{REPORT}{report.rung}.json")
        decided = decision_file(folder, report.rung)
        while not decided.exists():
            time.sleep(LOOK_EVERY_SECONDS)
        answer = [decided.read_text(encoding="utf-8")]
    dist.broadcast_object_list(answer, src=0)
    return Decision(answer[0])


def _keep_progress(folder: Path, what: str, done: int, of: int) -> None:
    write_text(folder / PROGRESS, json.dumps([what, done, of]))


def _device() -> torch.device:
    """Of this rank's part of the model; the communication happens there, too."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def train(request: RankRequest) -> None:
    """Train this rank's part, and end this process with 0 if the trial completed or was pruned."""
    status = _train(request)
    sys.stdout.flush()
    sys.stderr.flush()
    # Other ranks may have ended already; taking the process group apart would wait for them.
    os._exit(status)


def _train(request: RankRequest) -> int:
    folder, rank = Path(request.folder), int(os.environ["RANK"])
    device = _device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    saves = request.config.keep_weights and rank == 0
    config = request.config.model_copy(update={"keep_weights": saves})
    run = Path(request.run) if request.run else None
    speaks: dict[str, Any] = {"tell": partial(_keep_progress, folder)} if rank == 0 else {}
    backend = TorchBackend(request.plan, request.spec, run, device, **speaks)
    own = own_folder(folder, rank)
    own.mkdir(parents=True, exist_ok=True)
    shared = backend.shared_by(config)
    job = TrialJob(shared, config, own, partial(tell, folder), run)
    job.attempt, job.planned = Path(request.attempt), request.planned
    if request.checkpoint is not None:
        job.continue_from(Saved.at(Path(request.checkpoint)))
    result = train_trial(job, only_once)
    result.write(own / RESULT)
    if result.state == "FAIL":
        return 1
    dist.barrier()
    return 0
