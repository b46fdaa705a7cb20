"""torch's elastic launcher, in a process of its own.

If a rank fails, torch ends the others, and the first failure is written into the folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from sweeper.artifact import Artifact, Record

# In the ranks' folder: the file of the first failure, and the folder of the ranks' output.
FAILURE, LOGS = "failure.json", "logs"
# Seconds that ranks have to end after they were told to.
SHUTDOWN_SECONDS = 5


class RankFailure(Artifact):
    """The rank that failed first, and its exit status: negative after a signal."""

    rank: int
    status: int


class LaunchRequest(Record):
    """The ranks to run.

    Args:
        command: Arguments of Python; the launcher's process id is added.
    """

    ranks: int
    folder: str
    command: tuple[str, ...]


def launch(request: LaunchRequest) -> None:
    """Run all ranks, and end this process, with status 0 if all ranks succeeded."""
    os._exit(_launch(Path(request.folder), request))


def _launch(folder: Path, request: LaunchRequest) -> int:
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=request.ranks,
        run_id="trial",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        shutdown_timeout=SHUTDOWN_SECONDS,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / LOGS), redirects=Std.ALL),
    )
    try:
        elastic_launch(config, sys.executable)(*request.command, str(os.getpid()))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        RankFailure(rank=rank, status=failure.exitcode).write(folder / FAILURE)
        return 1
    except SignalException as error:  # this launcher was told to end
        return -int(error.sigval) % 256
    return 0
