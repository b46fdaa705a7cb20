"""Faults inside a worker, asked for by environment variables: kills at every moment of a trial's
life, hangs, stops, exceptions, divergence, too little memory, a full disk.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sweeper.backend import Interrupted
from sweeper.execution.job import JobEnded, Message
from sweeper.execution.worker.link import Link
from sweeper.execution.worker.session import Session
from sweeper.runfolder import RunFolder
from sweeper.trials import RungReport, TrialConfig, TrialResult

# How many times workers kill themselves, and where in turn. Workers that die before they have got
# anywhere, one after the other, would look like a broken installation: such moments stand apart.
KILLS = int(os.environ.get("CURVE_KILLS", "0"))
EARLY = ("load", "train", "before report", "load", "after report", "begun", "train", "load",
         "before write")  # fmt: skip
LATE = ("after write", "told")
MOMENTS = tuple(moment for late in LATE for moment in (*EARLY, late))
# How often a process passes a moment before its last one: from the first number to the second.
_PASSES = {"train": (6, 30), "before report": (2, 6), "after report": (2, 6)}

# "trial:rung:attempts:what,..." with what one of hang, stop, raise.
AT_RUNG = os.environ.get("CURVE_AT_RUNG", "")
# "trial:rung:attempts,...": training goes on for as long as it is left alone.
WAITS = os.environ.get("CURVE_WAITS", "")
# "trial:rung": the loss is not a number from there.
DIVERGES = os.environ.get("CURVE_DIVERGES", "")
# "micro:evaluation": larger batches do not fit.
MEMORY = os.environ.get("CURVE_MEMORY", "")
# A file: while it exists, weights cannot be written.
FULL = os.environ.get("CURVE_FULL", "")

_left: dict[int, int] = {}


def moment(run: RunFolder, name: str) -> None:
    """Perhaps the last moment of this process."""
    if not KILLS:
        return
    with (run.path / "kills.log").open("a+") as log:
        fcntl.flock(log, fcntl.LOCK_EX)  # no two workers take the same one; gone with its holder
        log.seek(0)
        kills = len(log.readlines())
        if kills >= KILLS or MOMENTS[kills % len(MOMENTS)] != name:
            return
        if kills not in _left:
            _left[kills] = random.randrange(*_PASSES.get(name, (0, 1)))
        _left[kills] -= 1
        if _left[kills] < 0:
            log.write(name + "\n")
            log.flush()
            os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: Any, name: str, run: RunFolder, before: str | None, after: str | None) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        if before:
            moment(run, before)
        result = real(*args, **kwargs)
        if after:
            moment(run, after)
        return result

    setattr(owner, name, call)


def install(run: RunFolder) -> None:
    """Put the moments in their places. Only in a worker's own process."""
    if not KILLS:
        return
    moment(run, "load")
    _around(Session, "do", run, "begun", None)
    _around(TrialResult, "write", run, "before write", None)
    say = Link.say

    def told(link: Link, message: Message) -> None:
        if isinstance(message, RungReport):
            moment(run, "before report")
        if isinstance(message, JobEnded) and message.end is None:
            moment(run, "after write")
        say(link, message)
        if isinstance(message, RungReport):
            moment(run, "after report")
        if isinstance(message, JobEnded) and message.end is None:
            moment(run, "told")

    Link.say = told  # type: ignore[method-assign]


def at_rung(config: TrialConfig, rung: int) -> None:
    """Hang, stop or raise, if it was asked for here."""
    for fault in filter(None, AT_RUNG.split(",")):
        number, at, attempts, what = fault.split(":")
        if (config.number, rung) != (int(number), int(at)) or config.attempt > int(attempts):
            continue
        if what == "hang":
            time.sleep(1000)
        elif what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            raise RuntimeError("the accelerator fell off the bus")


def wait(config: TrialConfig, rung: int, should_stop: Callable[[], bool]) -> None:
    """Hold a trial that a test is to meet in the middle, until it is stopped or killed."""
    for number, at, attempts in (fault.split(":") for fault in WAITS.split(",") if fault):
        if (config.number, rung) == (int(number), int(at)) and config.attempt <= int(attempts):
            while not should_stop():
                time.sleep(0.01)
            raise Interrupted


def diverges(config: TrialConfig, rung: int) -> bool:
    number, _, at = DIVERGES.partition(":")
    return bool(DIVERGES) and config.number == int(number) and rung >= int(at)


def memory(config: TrialConfig) -> TrialConfig:
    """The configuration at batches that fit, as a memory guard finds them."""
    if not MEMORY:
        return config
    micro, evaluation = map(int, MEMORY.split(":"))
    effective = config.setup.micro_batch * config.setup.gradient_accumulation_steps
    fits = next(n for n in range(min(micro, config.setup.micro_batch), 0, -1) if effective % n == 0)
    return config.with_setup(
        micro_batch=fits,
        gradient_accumulation_steps=effective // fits,
        evaluation_batch=min(evaluation, config.setup.evaluation_batch),
    )


def disk(run: RunFolder, config: TrialConfig) -> None:
    """There is no room while the file is there."""
    if FULL and Path(FULL).exists() and config.number > 0:
        raise OSError(errno.ENOSPC, "No space left on device")
