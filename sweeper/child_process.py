"""Processes of their own, such as those that load torch: both ends of a request.

``in_child`` has a function called there, named as ``module:function``. It takes one record, the
request, and returns another one, the answer. Meanwhile it may tell its progress and events. On the
pipe each of these is a line of JSON; whatever else the process prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar, get_type_hints

from sweeper import errors
from sweeper.artifact import Record
from sweeper.errors import ChildFailed, Problem, SweeperError
from sweeper.jsontext import object_of

_PR_SET_PDEATHSIG = 1
# The share of a GPU's memory that a worker may take, where several workers share the GPU.
GPU_SHARE = "SWEEPER_GPU_SHARE"
# For processes that load torch, unless the user sets another value: GPUs are numbered as nvidia-smi
# numbers them, and freed blocks are not lost to later tensors of another size.
GPU_SETTINGS = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
# The end of what a process wrote on standard error, in which its last words are looked for.
_LAST_BYTES = 20_000
_LINE_CHARACTERS = 300
A = TypeVar("A", bound=Record)


def thread_settings(threads: int | None) -> dict[str, str]:
    """The environment of a process that trains beside others, to be set before torch is loaded.

    Threads wait without spinning: two torch processes at default threads on two cores slow small
    operations fifty-fold (measured).
    """
    count = str(threads or os.cpu_count() or 1)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


def child_command(function: str, *shown: str) -> list[str]:
    """The command of a process that calls a function, and ends with this one.

    Args:
        function: ``module:function``.
        shown: Words by which people tell one such process from another.
    """
    return [sys.executable, "-m", "sweeper.child", function, str(os.getpid()), *shown]


def request_line(request: Record) -> bytes:
    """A request as its process reads it. Texts may hold characters that UTF-8 cannot."""
    return json.dumps(request.model_dump(mode="json")).encode() + b"\n"


def start_child(
    function: str,
    request: Record,
    *,
    threads: int | None = 1,
    env: Mapping[str, str] | None = None,
    shown: Sequence[str] = (),
    **options: Any,
) -> subprocess.Popen[bytes]:
    """A process that has got its request; it may read more, and answers by lines.

    Args:
        threads: For torch; all cores if None.
        env: Its environment, in place of this one with the settings for torch.
        shown: As in ``child_command``.
        options: Further arguments of ``Popen``.
    """
    process = subprocess.Popen(
        child_command(function, *shown),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env or {**GPU_SETTINGS, **os.environ, **thread_settings(threads), "TQDM_DISABLE": "1"},
        **options,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended, and its status says more
        process.stdin.write(request_line(request))
        process.stdin.flush()
    return process


def in_child(
    function: str,
    request: Record,
    answer: type[A],
    *,
    what: str,
    fix: str = "",
    where: str = "",
    seconds: float | None = None,
    threads: int | None = None,
    work: Callable[[str, int, int], None] = lambda _what, _done, _of: None,
    hear: Callable[[dict[str, Any]], None] = lambda _event: None,
    log: Path | None = None,
) -> A:
    """Call a function in a process of its own. An exception here, such as Ctrl-C, ends it.

    Args:
        function: ``module:function``.
        answer: The type of what it returns; ``Record`` for nothing.
        what: The process, for the message where it breaks; ``fix`` and ``where`` as in ``Problem``.
        seconds: It is ended after that long.
        threads: For torch; all cores if None.
        work: Takes its progress.
        hear: Takes its events.
        log: Keeps what it writes on standard error.

    Raises:
        ChildFailed: It broke, or took too long; with the last line that it wrote.
        SweeperError: What the function raised.
    """
    reply: dict[str, Any] | None = None
    late = threading.Event()
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryFile() if log is None else log.open("w+b") as errors_file,
        start_child(function, request, threads=threads, stderr=errors_file) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds or threading.TIMEOUT_MAX, end)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            for line in process.stdout:
                message: dict[str, Any] = {}
                with contextlib.suppress(ValueError):  # cut off, where it was killed
                    message = object_of(line)
                if "progress" in message:
                    work(*message["progress"])
                elif "event" in message:
                    hear(message["event"])
                else:
                    reply = message or None
            status = process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            timer.cancel()
        errors_file.seek(max(0, errors_file.seek(0, os.SEEK_END) - _LAST_BYTES))
        last = errors_file.read().decode(errors="replace").strip().splitlines()[-1:]
    if reply is not None and "problems" in reply:
        kind: type[SweeperError] = getattr(errors, reply["error"], SweeperError)
        raise kind([Problem(**fields) for fields in reply["problems"]])
    if reply is not None:
        return answer.model_validate(reply["answer"])
    how = f"took longer than {seconds:g} s" if late.is_set() else _ending(status)
    said_last = f": {last[0].strip()[:_LINE_CHARACTERS]}" if last and not late.is_set() else ""
    failed = ChildFailed(f"{what} {how}{said_last}", fix=fix, where=where)
    failed.status = None if late.is_set() else status
    raise failed


def _ending(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    return f"ended with {status}"


_pipe: TextIO | None = None


def tell(**message: Any) -> None:
    """Tell the parent something; nobody where this process has no request to answer."""
    if _pipe is not None:
        print(json.dumps(message), file=_pipe, flush=True)


def message_pipe() -> BinaryIO:
    """The pipe to the parent, for a function with messages of its own."""
    assert _pipe is not None
    return _pipe.buffer


def tell_event(**event: Any) -> None:
    """Tell the parent what has happened."""
    tell(event=event)


def tell_progress(what: str, done: int, of: int) -> None:
    """Tell the parent how far the work is."""
    tell(progress=[what, done, of])


def answer(function: str, parent: int, file: Path | None = None) -> None:
    """Answer the parent's request, and end this process.

    Args:
        function: ``module:function``. Its errors are told to the parent.
        parent: The process that this one ends with.
        file: Holds the request; the first line on standard input if None.
    """
    global _pipe
    die_with(parent)
    _pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = function.partition(":")
    status = 0
    try:
        call = getattr(importlib.import_module(module), name)
        kind = next(iter(get_type_hints(call).values()))
        line = _first_line() if file is None else file.read_bytes()
        result = call(kind.model_validate(object_of(line)))
        tell(answer={} if result is None else result.model_dump(mode="json"))
    except SweeperError as error:
        problems = [vars(problem) for problem in error.problems]
        tell(error=type(error).__name__, problems=problems)
        status = error.exit_code
    except KeyboardInterrupt:
        status = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # taking torch apart takes long, and a client's threads may wait for ever


def _first_line() -> bytes:
    # Read byte by byte: what comes behind the request belongs to the function.
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(0, 1)):
        line += byte
    return line


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends, however it ends (Linux).

    Elsewhere whoever is tied must notice by itself. A parent that ended before this call is
    noticed here.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
