"""``python -m sweeper.execution.worker --run PATH``: started by a pool, which holds its pipes.

The first line on standard input is the ``Briefing``, the others are orders. The
backend is imported by its name.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import socket
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

from sweeper.backend import TRAINING, MakeBackend
from sweeper.child_process import die_with
from sweeper.errors import RunError, near_match
from sweeper.execution.job import Briefing, Hello, Ready
from sweeper.execution.worker.link import Link
from sweeper.execution.worker.session import UNSOUND, Session
from sweeper.extras import install_command, needed_for
from sweeper.facts.machine.detect_hardware import Device
from sweeper.plans import Plan
from sweeper.redaction import without_secrets
from sweeper.runfolder import RunFolder


def load_backend(name: str) -> MakeBackend:
    """The factory that ``module:function`` names.

    Raises:
        RunError: There is none.
        NotInstalled: A package that it imports is missing.
    """
    module_name, _, function = name.partition(":")
    with needed_for(f"The training backend {name}", install_command("train")):
        module = importlib.import_module(module_name)
    if not hasattr(module, function):
        raise RunError(f"{module_name} has no {function!r}", fix=near_match(function, vars(module)))
    return cast(MakeBackend, getattr(module, function))


def work(run: RunFolder, told: Briefing, link: Link, worker: str) -> int:
    """Do jobs until there are none.

    Args:
        run: The run's folder, as this machine sees it.

    Returns:
        The exit status.
    """
    link.say(Hello(host=socket.gethostname(), process=os.getpid()))
    plan = Plan.read(run.plan)
    session = Session(run, plan, link, worker)
    backend = load_backend(told.backend)(run, plan, told.spec, session.tell)
    try:
        link.say(Ready(device=_device() if told.backend == TRAINING else None))
        while (job := link.job()) is not None:
            if not session.do(backend, job):
                return UNSOUND
    finally:
        backend.close()
    return 0


def _device() -> Device:
    """Where the backend that really trains does so."""
    module = importlib.import_module("sweeper.training.probes.device")
    device: Device = module.training_device()
    return device


def _message_pipe() -> BinaryIO:
    # Messages keep the pipe that was standard output; whatever libraries print goes to the log.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def _briefing() -> Briefing:
    # Read byte by byte: what comes behind it belongs to the link.
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return Briefing.model_validate_json(line)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker as a process of its own."""
    parser = argparse.ArgumentParser(prog="python -m sweeper.execution.worker")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--worker-id", default="0")
    parser.add_argument("--parent", type=int, required=True)
    chosen = parser.parse_args(arguments)
    die_with(chosen.parent)
    link = Link(0, _message_pipe())
    try:
        told = _briefing()
        link.listen()
        return work(RunFolder(chosen.run), told, link, chosen.worker_id)
    except BrokenPipeError:
        return 1  # whoever listened is gone; the files say how far this came
    except Exception:  # noqa: BLE001 - the last line of the log says why the worker ended
        print(without_secrets(traceback.format_exc()), file=sys.stderr)
        return 1


if __name__ == "__main__":
    status = main()
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    # Taking a process with torch apart takes longer than a short trial; all that it held is closed
    # or belongs to the operating system.
    os._exit(status)
