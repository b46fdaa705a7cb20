"""Calls functions, such as those that load torch, in child processes: code of parent and child.

``in_child`` calls a function, named as ``module:function``, in a child process. The function takes
a request and returns an answer; both are records. Meanwhile it may send progress and events. Each
message is a line of JSON on a pipe; other output goes to standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar, get_type_hints

from sweeper import errors
from sweeper.artifact import Record
from sweeper.errors import ChildFailed, Problem, SweeperError
from sweeper.jsontext import object_of

_PR_SET_PDEATHSIG = 1
# Environment variable: share of a GPU's memory for a worker, if several workers share the GPU.
GPU_SHARE = "SWEEPER_GPU_SHARE"
# A request on standard input begins with its length, in this many bytes.
_LENGTH_BYTES = 8
# Bytes at the end of standard error that are searched for its last line.
_LAST_BYTES = 20_000
_MAX_LINE_CHARACTERS = 300
A = TypeVar("A", bound=Record)


@cache
def torch_settings() -> dict[str, str]:
    """Environment of processes that load torch, unless the user sets other values.

    GPUs have the numbers of nvidia-smi, freed memory can be used for tensors of another size, and
    torch's compiler, which nothing here uses, is not loaded by bitsandbytes (1.1 s of CPU and 43 MB
    a process). The newer name of the allocator's variable had no effect on CUDA in torch 2.9
    (https://github.com/pytorch/pytorch/issues/183387); it is used from 2.11 on.
    """
    try:
        version = tuple(map(int, metadata.version("torch").split(".")[:2]))
    except metadata.PackageNotFoundError:
        version = (0, 0)
    allocator = "PYTORCH_ALLOC_CONF" if version >= (2, 11) else "PYTORCH_CUDA_ALLOC_CONF"
    return {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        allocator: "expandable_segments:True",
        "TORCHDYNAMO_DISABLE": "1",
    }


def thread_settings(threads: int | None) -> dict[str, str]:
    """Environment variables with thread settings, to be set before torch is loaded.

    Threads wait without spinning: two torch processes with default settings on two cores slow
    small operations down fifty-fold (measured).
    """
    count = str(threads or os.cpu_count() or 1)
    return {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }


def child_command(function: str, *shown: str) -> list[str]:
    """The command line of a child process that calls a function and ends with this process.

    Args:
        function: ``module:function``.
        shown: Unused arguments that identify the process in lists of processes.
    """
    return [sys.executable, "-m", "sweeper.child", function, str(os.getpid()), *shown]


def request_bytes(request: Record) -> bytes:
    """A request: its length, then JSON; in ASCII, as texts may have lone surrogates."""
    text = json.dumps(request.model_dump(mode="json")).encode()
    return len(text).to_bytes(_LENGTH_BYTES) + text


def start_child(
    function: str,
    request: Record,
    *,
    threads: int | None = 1,
    env: Mapping[str, str] | None = None,
    shown: Sequence[str] = (),
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a child process and send it the request.

    Args:
        threads: Number of threads for torch; the number of cores if None.
        env: Environment of the child; if None, that of this process with settings for torch.
        shown: As in ``child_command``.
        options: Further arguments of ``Popen``.
    """
    process = subprocess.Popen(
        child_command(function, *shown),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=env
        or {**torch_settings(), **os.environ, **thread_settings(threads), "TQDM_DISABLE": "1"},
        **options,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the child has ended; its exit status tells why
        process.stdin.write(request_bytes(request))
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
    """Call a function in a child process. An exception here, such as Ctrl-C, ends the child.

    Args:
        function: ``module:function``.
        answer: The type of the answer; ``Record`` if the function returns None.
        what: The work in words, for error messages; ``fix`` and ``where`` as in ``Problem``.
        seconds: Time limit; no limit if None.
        threads: Number of threads for torch; the number of cores if None.
        work: Callback for the progress that the function sends.
        hear: Callback for the events that the function sends.
        log: File for standard error.

    Raises:
        ChildFailed: The child failed, with its last line of standard error, or took too long.
        SweeperError: Raised by the function.
    """
    reply: dict[str, Any] | None = None
    timed_out = threading.Event()
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryFile() if log is None else log.open("w+b") as errors_file,
        start_child(function, request, threads=threads, stderr=errors_file) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def end() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(seconds or threading.TIMEOUT_MAX, end)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            for line in process.stdout:
                message: dict[str, Any] = {}
                with contextlib.suppress(ValueError):  # a killed process may leave half a line
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
    outcome = f"took longer than {seconds:g} s" if timed_out.is_set() else _outcome(status)
    last_line = (
        f": {last[0].strip()[:_MAX_LINE_CHARACTERS]}" if last and not timed_out.is_set() else ""
    )
    error = ChildFailed(f"{what} {outcome}{last_line}", fix=fix, where=where)
    error.status = None if timed_out.is_set() else status
    raise error


def _outcome(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    return f"ended with {status}"


_pipe: TextIO | None = None


def tell(**message: Any) -> None:
    """Send a message to the parent; does nothing outside of ``answer``."""
    if _pipe is not None:
        print(json.dumps(message), file=_pipe, flush=True)


def message_pipe() -> BinaryIO:
    """The pipe to the parent, for a function with its own kind of messages."""
    assert _pipe is not None
    return _pipe.buffer


def tell_event(**event: Any) -> None:
    """Send an event to the parent."""
    tell(event=event)


def tell_progress(what: str, done: int, of: int) -> None:
    """Send progress to the parent."""
    tell(progress=[what, done, of])


def answer(function: str, parent: int, file: Path | None = None) -> None:
    """Answer the parent's request, and end this process.

    Args:
        function: ``module:function``. If it raises a ``SweeperError``, that is sent to the parent.
        parent: The process id of the parent; this process ends with it.
        file: The file with the request; if None, standard input begins with it.
    """
    global _pipe
    die_with(parent)
    _pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = function.partition(":")
    status = 0
    try:
        with uncollected_imports():
            call = getattr(importlib.import_module(module), name)
        kind = next(iter(get_type_hints(call).values()))
        text = file.read_bytes() if file else _read(int.from_bytes(_read(_LENGTH_BYTES)))
        result = call(kind.model_validate(object_of(text)))
        tell(answer={} if result is None else result.model_dump(mode="json"))
    except SweeperError as error:
        problems = [vars(problem) for problem in error.problems]
        tell(error=type(error).__name__, problems=problems)
        status = error.exit_code
    except KeyboardInterrupt:
        status = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # unloading torch is slow, and threads of libraries may never end


@contextlib.contextmanager
def uncollected_imports() -> Iterator[None]:
    """A context for imports without garbage collection, which takes a seventh of their time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read(count: int) -> bytes:
    """The next bytes of standard input. Those after the request are left to the function."""
    chunks = bytearray()  # appending to bytes would copy them
    while len(chunks) < count and (chunk := os.read(0, count - len(chunks))):
        chunks += chunk
    return bytes(chunks)


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends in any way (Linux only).

    On any system, exits if the parent has ended before this call.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(0)
