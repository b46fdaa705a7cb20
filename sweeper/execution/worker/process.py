"""The worker process: started by a pool, which sends orders and reads messages over its pipes."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import sys
import traceback
from pathlib import Path
from typing import cast

from sweeper.backend import TORCH_BACKEND, MakeBackend
from sweeper.child_process import message_pipe, no_garbage_collection
from sweeper.errors import RunError, near_match
from sweeper.execution.job import Hello, Ready, WorkerRequest
from sweeper.execution.worker.link import Link
from sweeper.execution.worker.session import MUST_BE_REPLACED, Session
from sweeper.facts.machine.hardware import Device
from sweeper.packages import install_command, needed_for
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.safe_text import without_secrets


def load_backend(name: str) -> MakeBackend:
    """The backend factory with the name ``module:function``.

    Raises:
        RunError: The module has no such function.
        NotInstalled: A package that it imports is missing.
    """
    module_name, _, function = name.partition(":")
    extra = install_command("train")
    with needed_for(f"The training backend {name}", extra), no_garbage_collection():
        module = importlib.import_module(module_name)
    if not hasattr(module, function):
        raise RunError(f"{module_name} has no {function!r}", fix=near_match(function, vars(module)))
    return cast(MakeBackend, getattr(module, function))


def work(request: WorkerRequest) -> None:
    """Do jobs until the command orders the end, then end this process."""
    link = Link(incoming=0, outgoing=message_pipe())  # 0 is standard input
    try:
        link.listen()
        status = _work(request, link)
    except BrokenPipeError:
        status = 1  # the command is gone; the next one continues from the run's files
    except Exception:  # noqa: BLE001 - the last line of the log says why the worker ended
        print(without_secrets(traceback.format_exc()), file=sys.stderr)
        status = 1
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    # Python's shutdown with torch takes longer than a short trial; the operating system frees its
    # resources.
    os._exit(status)


def _work(request: WorkerRequest, link: Link) -> int:
    """Do jobs, and return the exit status: 0 if the command ends the worker, or
    ``MUST_BE_REPLACED`` if a job leaves this process unsound."""
    link.say(Hello(host=socket.gethostname(), process=os.getpid()))
    run = RunFolder(Path(request.run))
    plan = Plan.read(run.plan)
    session = Session(run, plan, link, request.worker)
    backend = load_backend(request.backend)(run, plan, request.spec, session.tell)
    try:
        link.say(Ready(device=_device() if request.backend == TORCH_BACKEND else None))
        while (job := link.job()) is not None:
            if not session.do(backend, job):
                return MUST_BE_REPLACED
    finally:
        backend.close()
    return 0


def _device() -> Device:
    """The device on which the training backend trains."""
    module = importlib.import_module("sweeper.training.probes.device")
    device: Device = module.training_device()
    return device
