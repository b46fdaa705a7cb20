"""Python processes that begin with torch and sweeper loaded, for tests that start many.

A process that loads torch, transformers and peft spends 5 s of CPU on imports. The process below
imports them once, and copies itself for each command: the copy is a child of the process that
started the command, and has its arguments, environment, folder and pipes. It has imported modules,
and done nothing else. Where that could make a difference, the command is started as usual: with
other options of Python, other values of variables that are read at import, or folders that hold
other versions of what is loaded. Linux only.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXECUTABLE = sys.executable  # tests may put another in its place
MODULES = (
    "transformers.models.bert.modeling_bert",
    "transformers.models.llama.modeling_llama",
    "transformers.models.gemma3.modeling_gemma3",
    "altair",
    "datasets",
    "jinja2",
    "optuna",
    "optuna.storages",
    "peft",
    "sklearn.linear_model",
    "sweeper.api",
    "sweeper.child",
    "sweeper.cli.main",
    "sweeper.cli.commands.run",
    "sweeper.execution.worker.process",
    "sweeper.processes.report_maker",
    "sweeper.reporting.write",
    "sweeper.training.launch",
    "sweeper.training.rank",
    "sweeper.training.torch_backend",
)
# Start-up of Python, and variables that loaded modules have read.
FIXED = ("HF_", "LANG", "LC_", "LD_", "PYTHON", "SWEEPER_HANG", "SWEEPER_SILENT", "TRANSFORMERS_")
FREE = ("PYTHONPATH", "PYTHONUNBUFFERED")
# What is loaded again where a folder holds another version of it.
REPLACED = {"sweeper", "vl_convert"}
# Limits the memory that it may map, of which a copy has much from the beginning.
LIMITED = "sweeper.facts.models.chat_template:render"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_MAX_BYTES = 1 << 20
_MAX_COMMAND = 4000  # characters of a command that lists of processes show
_Popen = subprocess.Popen


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(FIXED) and name not in FREE
    }


@cache
def _names_in(folder: str) -> set[str]:
    return (
        {path.name.removesuffix(".py") for path in Path(folder).iterdir()}
        if Path(folder).is_dir()
        else set()
    )


class Preloaded:
    """Starts copies of the process that has imported everything.

    Args:
        channel: The socket on which that process takes requests.
        fixed: The environment that it cannot change any more.
    """

    def __init__(self, channel: socket.socket, fixed: dict[str, str], loaded: set[str]):
        self._channel, self._fixed, self._loaded = channel, fixed, loaded

    def can_start(self, given: Mapping[str, Any]) -> bool:
        """Whether a copy does what a new process would do."""
        words = given["args"]
        plain = (
            not isinstance(words, str)
            and not given["shell"]
            and not (given["preexec_fn"] or given["process_group"] + 1)
        )
        if not plain or os.fsdecode(words[0]) != EXECUTABLE or LIMITED in words:
            return False
        options = words[1:2] if words[1:2] != ["-u"] else words[2:3]
        if options[0].startswith("-") and options[0] not in ("-m", "-c"):
            return False
        environment = os.environ if given["env"] is None else given["env"]
        if _fixed(environment) != self._fixed:
            return False
        paths = [p for p in environment.get("PYTHONPATH", "").split(os.pathsep) if p]
        others = [path for path in paths if Path(path) != ROOT]
        return not any(_names_in(path) & self._loaded - REPLACED for path in others)

    def start(self, given: Mapping[str, Any], files: Mapping[int, int]) -> int:
        """Start a copy; its process id.

        Args:
            given: The arguments of ``Popen._execute_child``.
            files: Descriptors of this process by those of the new one.
        """
        request = {
            "words": [os.fsdecode(word) for word in given["args"]][1:],
            "folder": os.fspath(given["cwd"] or Path.cwd()),
            "environment": dict(os.environ if given["env"] is None else given["env"]),
            "session": given["start_new_session"],
            "files": list(files),
        }
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # the parent of the copy ends, which makes it ours
        socket.send_fds(self._channel, [json.dumps(request).encode()], list(files.values()))
        process = int(self._channel.recv(64))
        _prctl(_PR_SET_CHILD_SUBREAPER, 0)
        return process


def _popen_of(source: Callable[[], Preloaded]) -> type[subprocess.Popen[Any]]:
    parameters = inspect.signature(_Popen._execute_child)  # type: ignore[attr-defined]

    class Popen(_Popen):  # type: ignore[type-arg]
        """Starts what it can as a copy."""

        def _execute_child(self, *values: Any) -> None:
            given, preloaded = parameters.bind(self, *values).arguments, source()
            if not preloaded.can_start(given):
                super()._execute_child(*values)  # type: ignore[misc]
                return
            pipes = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
            files = {n: n if pipe == -1 else pipe for n, pipe in enumerate(pipes)}
            files |= {n: n for n in given["pass_fds"]}
            self.pid = preloaded.start(given, files)
            self._child_created = True
            ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
            self._close_pipe_fds(*(given[name] for name in ends))  # type: ignore[attr-defined]

    return Popen


@contextmanager
def preloaded_popen() -> Iterator[type[subprocess.Popen[Any]]]:
    """A class to put in the place of ``subprocess.Popen``, which starts copies where it can."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        process = _Popen(
            [EXECUTABLE, __file__, str(theirs.fileno()), " " * _MAX_COMMAND],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"},
        )
        theirs.close()
        loaded = set(json.loads(ours.recv(_MAX_BYTES)))
        preloaded = Preloaded(ours, _fixed(os.environ), loaded)
        yield _popen_of(lambda: preloaded)
    process.wait()


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Copy this process for each request; returns in the copy what was asked of it."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(channel, _MAX_BYTES, 64)
        if not message:
            os._exit(0)
        number_read, number_write = os.pipe()
        go_read, go_write = os.pipe()
        if not (middle := os.fork()):
            if child := os.fork():
                os.write(number_write, str(child).encode())
                os._exit(0)
            os.read(go_read, 1)
            break
        os.waitpid(middle, 0)
        channel.send(os.read(number_read, 64))
        os.write(go_write, b"1")
        for descriptor in (number_read, number_write, go_read, go_write, *descriptors):
            os.close(descriptor)
    for descriptor in (number_read, number_write, go_read, go_write):
        os.close(descriptor)
    channel.close()
    return json.loads(message) | {"descriptors": descriptors}


def _null_files() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _become(request: Mapping[str, Any]) -> None:
    """Take over the files, folder and environment that were asked for."""
    descriptors = request["descriptors"]
    moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 64) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, target in zip(moved, request["files"], strict=True):
        os.dup2(descriptor, target)
        os.close(descriptor)
    _name_process([EXECUTABLE, *request["words"]])
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for n, (name, mode) in enumerate([("stdin", "r"), ("stdout", "w"), ("stderr", "w")]):
        line = n == 2 or os.isatty(n) or "PYTHONUNBUFFERED" in os.environ
        errors = "backslashreplace" if n == 2 else None
        stream = open(n, mode, 1 if line else -1, errors=errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _name_process(words: Sequence[str]) -> None:
    """Set the command line that lists of processes show, over that of the first process."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    text = b"\0".join(map(os.fsencode, words))[: end - start - 1]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, text, len(text))


def _run(words: Sequence[str], paths: Sequence[str]) -> None:
    """Do as ``python WORDS`` does."""
    words = words[1:] if words[0] == "-u" else words
    own = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [*filter(None, own), *paths]
    importlib.invalidate_caches()
    names = {name for path in filter(None, own) for name in _names_in(path)}
    replaced = names & REPLACED
    if replaced or any(name.endswith("-info") for name in names):  # or entry points of sweeper
        for name in [*sys.modules]:
            if name.partition(".")[0] in {"sweeper", *replaced}:
                del sys.modules[name]
    if words[0] == "-m":
        sys.argv = list(words[1:])
        sys.path.insert(0, str(Path.cwd()))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        sys.path.insert(0, "")
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), vars(main))
    else:
        sys.argv = list(words)
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")


def _main(channel: socket.socket) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    own = {str(ROOT), str(Path(__file__).parent)}
    paths = [path for path in sys.path if path not in own]
    # Before torch is loaded, whose launcher imports the class.
    subprocess.Popen = _popen_of(lambda: preloaded)  # type: ignore[misc]
    gc.disable()
    for name in MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    gc.enable()
    loaded = {name.partition(".")[0] for name in sys.modules}
    channel.send(json.dumps(sorted(loaded)).encode())
    fixed = _fixed(os.environ)
    while True:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        request = _serve(channel)
        if request["session"]:
            os.setsid()
        # Before the copy does anything, it gets a copy of itself, for the commands that it starts.
        further, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork():
            break
        further.close()
        for descriptor in request["descriptors"]:
            os.close(descriptor)
        _null_files()
    channel.close()
    preloaded = Preloaded(further, fixed, loaded)
    _become(request)
    status: object = 0
    try:
        _run(request["words"], paths)
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))  # unloading is slow


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
