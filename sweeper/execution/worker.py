"""The one worker loop: claim, do, tell, again. Whoever starts it, and wherever.

``python -m sweeper.execution.worker --run PATH --backend module:function`` with the storage's URL
in ``SWEEPER_STORAGE`` or ``--storage``. Knows the backend only by name; imports no torch itself.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO, cast

from optuna.exceptions import StorageInternalError

from sweeper.backend import MakeBackend
from sweeper.die_with_parent import die_with
from sweeper.errors import RunError, near_match
from sweeper.execution.bench import (
    NO_ROOM,
    STORAGE_GONE,
    STORAGE_VARIABLE,
    UNSOUND,
    Bench,
    WorkerUnsound,
)
from sweeper.execution.claims import Queue
from sweeper.execution.disk import NoRoom, free_bytes, no_room
from sweeper.execution.disk_budget import disk_budget
from sweeper.execution.events import Event
from sweeper.execution.owner import owner_of
from sweeper.execution.patience import Patience, StorageGone, patient
from sweeper.execution.stopping import StopFlag
from sweeper.execution.trial import run_trial
from sweeper.execution.work import run_job
from sweeper.plan import Plan
from sweeper.runfolder import RunFolder
from sweeper.search.named import make_pruner, make_sampler
from sweeper.search.storage import open_storage
from sweeper.search.study import CLOSED, PHASE, SPEC, TOTAL, jobs_name, load_study
from sweeper.spec import Spec

_IDLE_SECONDS = (0.1, 0.3)


def load_backend(name: str) -> MakeBackend:
    """The factory that ``module:function`` names.

    Raises:
        RunError: There is none.
    """
    module_name, _, function = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise RunError(
            f"cannot load the training backend {name}",
            why=str(error),
            fix="Install sweeper with what training needs: pip install 'sweeper[train]'.",
        ) from error
    if not hasattr(module, function):
        raise RunError(f"{module_name} has no {function!r}", fix=near_match(function, vars(module)))
    return cast(MakeBackend, getattr(module, function))


def work(
    run: RunFolder,
    storage_url: str,
    backend: str,
    *,
    worker: str,
    parent: int | None,
    tell: Callable[[Event], None],
) -> int:
    """Work for a study until it is closed.

    Args:
        run: The run's folder, as this machine sees it.
        storage_url: The storage that the command opened too.
        backend: ``module:function`` of the training backend.
        worker: A name for people.
        parent: The process to live no longer than; None for a worker of its own.
        tell: Takes events.

    Returns:
        The exit status.
    """
    stop = StopFlag(parent)
    patience = Patience(hurried=stop, say=_log)
    try:
        storage = patient(patience.call(lambda: open_storage(storage_url)), patience)
        name = run.path.resolve().name
        trials = Queue(storage, load_study(storage, name), patience)
        jobs = Queue(storage, load_study(storage, jobs_name(name)), patience)
        spec = Spec.from_json(trials.study.user_attrs[SPEC])
        plan = Plan.read(run.plan)
        made = load_backend(backend)(run, plan, spec, lambda _what, _done, _of: None)
        bench = Bench(run, plan, trials, jobs, made, stop, owner_of(os.getpid()), worker, tell)
        patience.say = lambda text: bench.say("warning", text=text)
        bench.say("worker-started", text=bench.owner)
        try:
            _go_on(bench, spec)
        finally:
            made.close()
    except WorkerUnsound:
        return UNSOUND
    except StorageGone as error:
        _log(str(error))
        return STORAGE_GONE
    except (NoRoom, OSError, StorageInternalError) as error:
        if not no_room(error):
            raise
        _log(f"the disk is full: {error}")
        return NO_ROOM
    return 0


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _go_on(bench: Bench, spec: Spec) -> None:
    least = disk_budget(bench.plan, spec.search.workers).least
    while not bench.should_stop() and bench.trials.study.user_attrs[PHASE] != CLOSED:
        if free_bytes(bench.run.path) < least:
            raise NoRoom("too little is free to keep the weights of one more trial")
        if not _one(bench, spec):
            time.sleep(random.uniform(*_IDLE_SECONDS))


def _one(bench: Bench, spec: Spec) -> bool:
    claim = bench.jobs.claim(bench.owner)
    if claim is not None:
        run_job(bench, claim)
        return True
    claim = bench.trials.claim(bench.owner, below=_total(bench))
    if claim is None:
        return False
    if claim.number >= _total(bench):  # another worker ended the search just then
        claim.put_back(crashed=False)
        return False
    study = bench.trials.study
    study.sampler = make_sampler(spec.search.sampler, bench.plan, claim.number)
    study.pruner = make_pruner(spec.search.pruner, bench.plan)
    run_trial(bench, claim)
    return True


def _total(bench: Bench) -> int:
    """Trials of the study that may be begun, as the storage says now."""
    total: int = bench.trials.study.user_attrs[TOTAL]
    return total


def _event_pipe() -> TextIO:
    # Events keep the pipe that was standard output; whatever libraries print goes to the log.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return pipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker as a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m sweeper.execution.worker")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--storage", default=os.environ.get(STORAGE_VARIABLE))
    parser.add_argument("--backend", default="sweeper.training.backend:make")
    parser.add_argument("--worker-id", default="0")
    parser.add_argument("--parent", type=int, default=None)
    chosen = parser.parse_args(arguments)
    if chosen.storage is None:
        parser.error(f"--storage or {STORAGE_VARIABLE} must name the storage")
    if chosen.parent is not None:
        die_with(chosen.parent)
    pipe = _event_pipe()

    def tell(event: Event) -> None:
        pipe.write(event.model_dump_json(exclude_defaults=True) + "\n")

    try:
        return work(
            RunFolder(chosen.run),
            chosen.storage,
            chosen.backend,
            worker=chosen.worker_id,
            parent=chosen.parent,
            tell=tell,
        )
    except BrokenPipeError:
        return 1  # whoever listened is gone; the lease and the files say how far this came
    except Exception:  # noqa: BLE001 - the last line of the log says why the worker ended
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Taking a process with torch and optuna apart takes longer than a short trial; all that it
    # held is closed or belongs to the operating system.
    os._exit(status)
