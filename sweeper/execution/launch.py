"""Chooses who starts the workers: this machine's processes, or a Ray cluster's actors.

Knows the names of the executors; what they do they know themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from sweeper.errors import RunError, near_match
from sweeper.execution.events import Event
from sweeper.execution.placement import demand_of, machine_of, place
from sweeper.execution.pool import Ended, Pool
from sweeper.plan import Plan
from sweeper.runfolder import RunFolder
from sweeper.spec import Spec

EXECUTORS = ("local", "ray")


class Worker(Protocol):
    """One that was started and whose end has not been told."""

    @property
    def owner(self) -> str: ...


class Workers(Protocol):
    """What starts workers, hears them, and ends them. ``Pool`` says what each part means."""

    backend: str
    stopping: bool

    @property
    def processes(self) -> Sequence[Worker]: ...
    def start(self) -> None: ...
    def poll(self, seconds: float) -> Iterator[Event | Ended]: ...
    def broken(self) -> bool: ...
    def ask_to_stop(self) -> None: ...
    def kill(self) -> None: ...
    def last_words(self, name: str, lines: int = 5) -> str: ...


def workers_for(
    run: RunFolder, spec: Spec, plan: Plan, url: str, backend: str
) -> tuple[Workers, str]:
    """The launcher that the spec names, with nothing started yet.

    Args:
        run: The run's folder.
        spec: What was asked.
        plan: What trials may need.
        url: The storage.
        backend: ``module:function`` of the training backend.

    Returns:
        The launcher, and why there will be fewer workers than asked for; empty if there will not.

    Raises:
        RunError: There is no such executor, or it cannot work here.
    """
    executor, asked = spec.search.executor, spec.search.workers
    if executor == "local":
        placed = place(asked, machine_of(plan), demand_of(plan))
        environments = placed.environments
        return Pool(run, url, backend, len(environments), environments), placed.note
    if executor == "ray":
        return _ray(run, spec, plan, url, backend)
    raise RunError(
        f"there is no executor {executor!r}",
        fix=near_match(executor, EXECUTORS),
        where="--executor",
    )


def _ray(run: RunFolder, spec: Spec, plan: Plan, url: str, backend: str) -> tuple[Workers, str]:
    try:
        # Ray is an extra, and loading it takes longer than a short trial.
        from sweeper.execution.ray_pool import connect
    except ImportError as error:
        raise RunError(
            "Ray is not installed",
            why=str(error),
            fix="pip install 'sweeper[ray]'",
            where="--executor ray",
        ) from error
    return connect(run, spec, plan, url, backend)
