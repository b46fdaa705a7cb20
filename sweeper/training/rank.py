"""One of several processes that train a trial together.

``python -m sweeper.training.rank FOLDER PARENT``, PARENT being the process that it ends with.

Knows its place from the environment that torch.distributed reads. The first rank speaks for all:
it prints reports, reads decisions and saves weights. Knows nothing of who started it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TextIO, TypeVar

import torch
import torch.distributed as dist

from sweeper.backend import Decision
from sweeper.die_with_parent import die_with
from sweeper.evaluation.judge import never
from sweeper.training.backend import TorchBackend
from sweeper.training.loop.out_of_memory import (
    Batching,
    MemoryGuard,
    TrialPhase,
    is_out_of_memory,
    shortage,
)
from sweeper.training.trial.job import Job
from sweeper.training.trial.ranks import REQUEST, RankRequest, own_folder, result_file
from sweeper.training.trial.run import train_trial
from sweeper.trials import RungReport

Result = TypeVar("Result")


class OneTry(MemoryGuard):
    """Tries once: a rank that began again by itself would leave the others waiting."""

    def run(
        self, setup: str, planned: Batching, attempt: Callable[[Batching, TrialPhase], Result]
    ) -> Result:
        try:
            return attempt(planned, TrialPhase())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise shortage(error) from error


def tell(pipe: TextIO, report: RungReport) -> Decision:
    """Report for all ranks, with the tokens of all, and hear the same answer on each.

    Args:
        pipe: Takes reports of the first rank; answers come on standard input.
        report: This rank's.
    """
    tokens = torch.tensor([float(report.tokens), float(report.replay_tokens)], device=_device())
    dist.all_reduce(tokens)
    answer: list[Any] = [None]
    if dist.get_rank() == 0:
        read, replayed = (int(count) for count in tokens)
        whole = report.model_copy(update={"tokens": read, "replay_tokens": replayed})
        pipe.write(whole.model_dump_json() + "\n")
        answer = [sys.stdin.readline().strip()]
    dist.broadcast_object_list(answer, src=0)
    return Decision(answer[0])


def _report_pipe() -> TextIO:
    # Reports keep the pipe that was standard output; whatever libraries print goes to the log.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return pipe


def _device() -> torch.device:
    """Of this rank's part of the model; the communication happens there, too."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def main(arguments: list[str]) -> int:
    """Train this rank's part; 0 if the trial completed or was pruned."""
    die_with(int(arguments[1]))
    pipe = _report_pipe()
    folder, rank = Path(arguments[0]), int(os.environ["RANK"])
    request = RankRequest.read(folder / REQUEST)
    device = _device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    saves = request.config.keep_weights and rank == 0
    config = request.config.model_copy(update={"keep_weights": saves})
    run = Path(request.run) if request.run else None
    backend = TorchBackend(request.plan, request.spec, run, device)
    own = own_folder(folder, rank)
    own.mkdir(parents=True, exist_ok=True)
    job = Job(backend.shared(config.model), config, own, partial(tell, pipe), never, run)
    result = train_trial(job, OneTry())
    result.write(result_file(folder, rank))
    if result.state == "FAIL":
        return 1
    dist.barrier()
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # Other ranks may have ended already; taking the process group apart would wait for them.
    os._exit(status)
