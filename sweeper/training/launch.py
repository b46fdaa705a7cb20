"""torch's own launcher, tied to the process that asked for it.

``python -m sweeper.training.launch RANKS PARENT FOLDER ARGUMENTS`` runs Python with ARGUMENTS and
this process's id as each of the RANKS. Where one of them fails, torch ends the others, and the
first failure is written into FOLDER.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from sweeper.artifact import Artifact
from sweeper.child_process import die_with

FAILURE, LOGS = "failure.json", "logs"
# How long ranks may take to end by themselves once they were told to.
SHUTDOWN_SECONDS = 5


class RankFailure(Artifact):
    """The rank that failed first, and its exit status; negative for a signal."""

    rank: int
    status: int


def main(arguments: list[str]) -> int:
    """Run all ranks; 0 if all of them ended well, a negative number if it was told to end."""
    ranks, parent, folder, *command = arguments
    die_with(int(parent))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=int(ranks),
        run_id="trial",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        shutdown_timeout=SHUTDOWN_SECONDS,
        logs_specs=DefaultLogsSpecs(log_dir=str(Path(folder) / LOGS), redirects=Std.ALL),
    )
    try:
        elastic_launch(config, sys.executable)(*command, str(os.getpid()))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        RankFailure(rank=rank, status=failure.exitcode).write(Path(folder) / FAILURE)
        return 1
    except SignalException as error:
        return -int(error.sigval)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
