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
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, TextIO, TypeVar, get_type_hints

from sweeper import errors
from sweeper.artifact import Record
from sweeper.errors import ChildFailed, Problem, SweeperError
from sweeper.textfiles import json_object

# Option of Linux's prctl(2): the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG = 1
# Environment variable: share of a GPU's memory for a worker, if several workers share the GPU.
GPU_SHARE = "SWEEPER_GPU_SHARE"
# Number of bytes that encode a request's length, at the beginning of standard input.
_LENGTH_BYTES = 8
# Bytes at the end of standard error that are searched for its last line.
_LAST_BYTES = 20_000
# Longest text of that line in an error message.
_MAX_LINE_CHARACTERS = 300
# Largest read from a child's output.
_CHUNK_BYTES = 65536
A = TypeVar("A", bound=Record)


@cache
def torch_settings() -> dict[str, str]:
    """Environment variables of processes that load torch, unless the user sets other values.

    GPUs have the numbers of nvidia-smi, freed memory can be used for tensors of another size, and
    bitsandbytes does not load torch's compiler, which nothing here uses (1.1 s of CPU and 43 MB a
    process). The allocator's variable has its newer name only from torch 2.11 on: in torch 2.9 that
    had no effect on CUDA (https://github.com/pytorch/pytorch/issues/183387).
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

    Threads wait without spinning. Otherwise two torch processes on two cores slow small operations
    down fifty-fold (measured).
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
        shown: Further arguments, not read, that identify the process in lists of processes.
    """
    return [sys.executable, "-m", "sweeper.child", function, str(os.getpid()), *shown]


def request_bytes(request: Record) -> bytes:
    """A request as bytes: its length, then JSON in ASCII, as texts may have lone surrogates."""
    text = json.dumps(request.model_dump(mode="json")).encode()
    return len(text).to_bytes(_LENGTH_BYTES) + text


@dataclass
class Child:
    """A child process in a session of its own, and the pipes to and from it.

    Ctrl-C thus reaches only this process, and killing the child ends its own child processes too.

    Args:
        process: The process, with unbuffered pipes.
        errors: File with its standard error; None if it goes elsewhere.
        closed: Whether its output has ended, so that it is ending.
    """

    process: subprocess.Popen[bytes]
    errors: IO[bytes] | None = None
    closed: bool = False
    _pending: bytes = b""

    def __post_init__(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._requests, self._output = self.process.stdin, self.process.stdout
        os.set_blocking(self.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """The file descriptor of its output, for ``selectors``."""
        return self._output.fileno()

    def send(self, message: bytes) -> None:
        """Write to its standard input; the bytes are lost if it has ended."""
        with contextlib.suppress(BrokenPipeError):
            while message:
                message = message[os.write(self._requests.fileno(), message) :]

    def end_input(self) -> None:
        """Close its standard input."""
        self._requests.close()

    def lines(self, seconds: float | None = 0.0) -> list[bytes]:
        """The complete lines of its output since the last call; none after its end.

        Args:
            seconds: Longest wait for a line; None to wait until there is one.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self, selectors.EVENT_READ)
            while not self.closed:
                ready.select(None if deadline is None else deadline - time.monotonic())
                with contextlib.suppress(BlockingIOError):  # nothing more to read now
                    while chunk := os.read(self.fileno(), _CHUNK_BYTES):
                        self._pending += chunk
                    self.closed = True
                *lines, self._pending = self._pending.split(b"\n")
                if lines or (deadline is not None and time.monotonic() >= deadline):
                    return lines
        return []

    def status(self) -> int | None:
        """Its exit status, negative for a signal, after its end; None while it runs.

        It is reaped only here and in ``wait``; until then no other process can get its process ID.
        """
        if self.process.returncode is None and hasattr(os, "waitid"):  # macOS: from Python 3.13 on
            if os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            self.kill()  # its child processes may still run
        return self.process.poll()

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit status; None if it has not ended in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.returncode

    def kill(self) -> None:
        """End it at once, with its child processes."""
        if self.process.returncode is None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (PermissionError, ProcessLookupError):
                self.process.kill()

    def close(self) -> None:
        """End it at once, and free its resources."""
        self.kill()
        self.process.wait()
        for file in (self._requests, self._output, self.errors):
            if file is not None:
                file.close()

    def last_errors(self) -> str:
        """The last bytes of its standard error, as text."""
        assert self.errors is not None
        self.errors.seek(max(0, self.errors.seek(0, os.SEEK_END) - _LAST_BYTES))
        return self.errors.read().decode(errors="replace")


def outcome(status: int) -> str:
    """How a process ended, as a predicate.

    >>> outcome(-9), outcome(1)
    ('was killed by SIGKILL', 'ended with status 1')
    """
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def start_child(
    function: str,
    request: Record,
    *,
    threads: int | None = 1,
    env: Mapping[str, str] | None = None,
    shown: Sequence[str] = (),
    errors: Path | int | None = None,
) -> Child:
    """Start a child process and send it the request.

    Args:
        threads: Number of threads for torch; the number of cores if None.
        env: Environment of the child; if None, that of this process with settings for torch.
        shown: As in ``child_command``.
        errors: Where standard error goes: a file to append to, or a constant of ``subprocess``; if
            None, a temporary file.
    """
    with contextlib.ExitStack() as opened:
        file: IO[bytes] | int
        if isinstance(errors, int):
            file = errors
        else:
            file = errors.open("a+b") if errors else tempfile.TemporaryFile()  # noqa: SIM115 - below
            opened.enter_context(file)
        process = subprocess.Popen(
            child_command(function, *shown),
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=env
            or {**torch_settings(), **os.environ, **thread_settings(threads), "TQDM_DISABLE": "1"},
            start_new_session=True,
        )
        opened.pop_all()
    child = Child(process, None if isinstance(file, int) else file)
    child.send(request_bytes(request))
    return child


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
    on_event: Callable[[dict[str, Any]], None] = lambda _event: None,
    log: Path | None = None,
) -> A:
    """Call a function in a child process. An exception here, such as Ctrl-C, ends the child.

    Args:
        function: ``module:function``.
        answer: The type of the answer; ``Record`` if the function returns None.
        what: The work in words, for error messages; ``fix`` and ``where`` as in ``Problem``.
        seconds: Time limit; no limit if None.
        threads: Number of threads for torch; the number of cores if None.
        work: Callback for progress: as ``tell_progress``.
        on_event: Callback for the events that the function sends.
        log: File for standard error, which is replaced; if None, a temporary file.

    Raises:
        ChildFailed: The child failed, with its last line of standard error, or took too long.
        SweeperError: Raised by the function.
    """
    reply: dict[str, Any] = {}
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.unlink(missing_ok=True)
    start = time.monotonic()

    def seconds_left() -> float | None:
        return None if seconds is None else max(0.0, start + seconds - time.monotonic())

    with start_child(function, request, threads=threads, errors=log) as child:
        child.end_input()
        while not child.closed and seconds_left() != 0.0:
            for line in child.lines(seconds_left()):
                message: dict[str, Any] = {}
                with contextlib.suppress(ValueError):  # a killed process may leave half a line
                    message = json_object(line)
                if "progress" in message:
                    work(*message["progress"])
                elif "event" in message:
                    on_event(message["event"])
                elif message:
                    reply = message
        status = child.wait(seconds_left())
        last_line = "".join(child.last_errors().strip().splitlines()[-1:]).strip()
    if "problems" in reply:
        kind: type[SweeperError] = getattr(errors, reply["error"], SweeperError)
        raise kind([Problem(**fields) for fields in reply["problems"]])
    if reply:
        return answer.model_validate(reply["answer"])
    end_text = f"took longer than {seconds:g} s" if status is None else outcome(status)
    detail = f": {last_line[:_MAX_LINE_CHARACTERS]}" if last_line and status is not None else ""
    error = ChildFailed(f"{what} {end_text}{detail}", fix=fix, where=where)
    error.status = status
    raise error


# The pipe to the parent, while ``answer`` runs.
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
    """Send the progress of some work to the parent: the amounts done and in total."""
    tell(progress=[what, done, of])


def answer(function: str, parent: int, file: Path | None = None) -> None:
    """Answer the parent's request by calling a function, and end this process.

    Args:
        function: ``module:function``. If it raises a ``SweeperError``, that is sent to the parent.
        parent: The process id of the parent; this process ends with it.
        file: The file with the request; if None, standard input begins with the request.
    """
    global _pipe
    die_with(parent)
    _pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    module, _, name = function.partition(":")
    status = 0
    try:
        with no_garbage_collection():
            call = getattr(importlib.import_module(module), name)
        request_type = next(iter(get_type_hints(call).values()))
        text = file.read_bytes() if file else _read(int.from_bytes(_read(_LENGTH_BYTES)))
        result = call(request_type.model_validate(json_object(text)))
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
def no_garbage_collection() -> Iterator[None]:
    """A context for imports without garbage collection, which would take a seventh of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read(count: int) -> bytes:
    """The next ``count`` bytes of standard input, read without a buffer: the rest stays there."""
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
