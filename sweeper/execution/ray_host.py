"""What runs inside of a Ray actor: one worker process, watched over from within the actor.

The worker is the same process as on one machine. It dies with its actor, however that ends. Knows
nothing about Ray.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

from sweeper.execution.events import Event
from sweeper.execution.pool import Ended, Pool
from sweeper.runfolder import RunFolder


class Host:
    """Holds one worker and passes on what it says.

    Args:
        folder: The run's folder, as every machine sees it.
        url: The storage.
        backend: ``module:function`` of the training backend.
        name: The worker's name for people.
        directory: Where the command was given: paths in the spec may be relative to it.
        placed: Threads of the worker. Its GPUs Ray has put into this process's environment.
    """

    def __init__(
        self,
        folder: str,
        url: str,
        backend: str,
        name: str,
        directory: str,
        placed: Mapping[str, str],
    ) -> None:
        if Path(directory).is_dir():
            os.chdir(directory)
        os.environ.update(placed)
        self._name = name
        self._pool = Pool(RunFolder(Path(folder)), url, backend, 1)

    def begin(self) -> tuple[str, str]:
        """Start the worker.

        Returns:
            This machine's name, and the worker's name in leases; the latter is empty, and nothing
            was started, if the run's folder cannot be seen from here.
        """
        host = socket.gethostname()
        if not self._pool.run.plan.exists():
            return host, ""
        return host, self._pool.launch(self._name).owner

    def poll(self, seconds: float) -> list[Event | Ended]:
        """What the worker said within that time, its end last."""
        return list(self._pool.poll(seconds))

    def ask_to_stop(self) -> None:
        """Tell the worker to put its work back and end."""
        self._pool.ask_to_stop()
