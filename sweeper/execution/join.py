"""Joining a running study from another shell or machine: the same loop, started by hand.

Knows how to find out from the storage what to work on; needs the run folder as that machine sees
it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeper.errors import RunError
from sweeper.execution import sharing
from sweeper.execution.events import Event
from sweeper.execution.worker import work
from sweeper.runfolder import RunFolder
from sweeper.search.storage import Storage, absolute, open_storage
from sweeper.search.study import BACKEND, RUN, load_study


def join(
    storage_url: str,
    *,
    name: str | None = None,
    run: Path | None = None,
    worker: str,
    tell: Callable[[Event], None],
) -> int:
    """Work for a study until its command ends.

    Args:
        storage_url: What the command was given as ``--storage``, or its ``study.db``.
        name: The run's name; may be left out where the storage holds one run.
        run: Its folder, if that has another path on this machine.
        worker: A name for people.
        tell: Takes events.

    Returns:
        The exit status.

    Raises:
        RunError: The storage holds no such run, or what it needs cannot be seen from here.
    """
    url = absolute(storage_url)
    storage = open_storage(url)
    study = load_study(storage, name or _only_run(storage))
    folder = RunFolder((run or Path(study.user_attrs[RUN])).absolute())
    sharing.check(folder, study, url)
    backend = study.user_attrs[BACKEND]
    return work(folder, url, backend, worker=worker, parent=None, tell=tell)


def _only_run(storage: Storage) -> str:
    studies = storage.optuna.get_all_studies()
    runs = sorted(study.study_name for study in studies if RUN in study.user_attrs)
    if len(runs) != 1:
        raise RunError(
            f"the storage holds {len(runs)} runs",
            why=f"They are: {', '.join(runs) or 'none'}.",
            fix="Name one with --name.",
        )
    return runs[0]
