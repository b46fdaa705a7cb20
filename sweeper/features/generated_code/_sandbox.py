"""Runs programs that a model wrote against their tests, in CPython that runs in WebAssembly.

The instance has no environment, files, sockets, threads or processes, and its instructions and
memory are counted. ``componentize-py`` brings CPython, and ``wasmtime`` runs it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import wasmtime
from wasmtime import component

from sweeper.cache import home, make_once
from sweeper.errors import RunError

_GUEST = Path(__file__).with_name("_guest.py")
# The interface of the component, in WebAssembly's WIT.
_WORLD = """package sweeper:tests;
world sandbox { export run: func(program: string, tests: list<string>) -> option<string>; }
"""
# The program that runs componentize-py.
_BUILD = "import sys, componentize_py; sys.exit(componentize_py.script())"
# The file of the compiled interpreter in its cache folder.
_COMPILED = "python.cwasm"
_CLOCK = "wasi:clocks/monotonic-clock"
# The largest stack that wasmtime allows. With it, CPython can nest 400 calls in C.
_WASM_STACK_BYTES = 2 << 20
_THREAD_STACK_BYTES = 16 << 20
_engine_lock = threading.Lock()  # all instances of the engine share its epoch


@dataclass(frozen=True)
class ProgramLimits:
    """The resources of one program.

    Args:
        instructions: WebAssembly instructions; a core executes 10 billion per second (measured).
        seconds: Limit on elapsed time, for what takes time but no instructions.
    """

    instructions: int = 200_000_000_000
    memory_mib: int = 512
    seconds: float = 300.0


def failure(program: str, tests: Sequence[str], limits: ProgramLimits | None = None) -> str | None:
    """Why a program does not pass its tests; None if it passes.

    Args:
        program: Python source; it can use the standard library.
        tests: Python source that raises if the program is wrong.

    Raises:
        RunError: This machine cannot run the sandbox; nothing was run.
    """
    program_limits = limits or ProgramLimits()
    try:
        "".join([program, *tests]).encode()
    except UnicodeEncodeError as error:
        return str(error)
    engine, linker, python = _load()
    with _engine_lock, wasmtime.Store(engine) as store:
        store.set_wasi(wasmtime.WasiConfig())
        store.set_limits(memory_size=program_limits.memory_mib << 20)
        store.set_fuel(program_limits.instructions)
        store.set_epoch_deadline(1)
        with _stack_of_threads(), futures.ThreadPoolExecutor(1) as pool:
            try:
                # In a thread, so that this one still receives signals.
                call = pool.submit(_call, linker, store, python, program, list(tests))
                futures.wait([call], program_limits.seconds)
            finally:
                engine.increment_epoch()  # ends the program if it still runs
    reason: str | None = call.result()
    return reason


def _call(linker: Any, store: Any, python: Any, program: str, tests: list[str]) -> Any:
    """Why a program does not pass its tests, from a new instance of the interpreter."""
    try:
        instance = linker.instantiate(store, python)
    except wasmtime.WasmtimeError as error:
        _refuse(error)
    try:
        return instance.get_func(store, "run")(store, program, tests)
    except (wasmtime.WasmtimeError, _CannotSleep) as error:
        return str(error).strip().rpartition("\n")[2].strip()


@contextmanager
def _stack_of_threads() -> Iterator[None]:
    """A context in which new threads have a larger stack than WebAssembly needs."""
    previous_size = threading.stack_size(_THREAD_STACK_BYTES)
    try:
        yield
    finally:
        threading.stack_size(previous_size)


@cache
def _load() -> tuple[wasmtime.Engine, component.Linker, component.Component]:
    """The engine, the functions that the interpreter imports, and the interpreter.

    The functions are those of WASI, except that a program cannot sleep. The interpreter comes from
    the cache, or is built now.
    """
    config = wasmtime.Config()
    config.consume_fuel = config.epoch_interruption = True
    config.max_wasm_stack = _WASM_STACK_BYTES
    engine = wasmtime.Engine(config)
    path = _folder() / _COMPILED
    if (python := _read(engine, path)) is None:
        try:
            make_once(path.parent, partial(_build, engine), lambda _: bool(_read(engine, path)))
        except (OSError, wasmtime.WasmtimeError) as error:
            _refuse(error)
        if (python := _read(engine, path)) is None:
            _refuse(f"{path} belongs to another user, or other users can write it.")
    linker = component.Linker(engine)
    linker.add_wasip2()
    linker.allow_shadowing = True
    (clock,) = (name for name in python.type.imports(engine) if name.startswith(_CLOCK))
    with linker.root() as root, root.add_instance(clock) as functions:
        functions.add_func("now", lambda store: time.monotonic_ns())
        functions.add_func("resolution", lambda store: 1)
        # Nothing could interrupt a sleep.
        functions.add_func("subscribe-instant", _cannot_sleep)
        functions.add_func("subscribe-duration", _cannot_sleep)
    return engine, linker, python


class _CannotSleep(Exception):
    """A program called a function that waits."""


def _cannot_sleep(store: Any, until: int) -> NoReturn:
    raise _CannotSleep("a program cannot wait")


def _folder() -> Path:
    """The cache folder of the interpreter, for these versions and this kind of machine."""
    versions = [metadata.version(name) for name in ("wasmtime", "componentize-py")]
    key_parts = [*versions, platform.system(), platform.machine(), _GUEST.read_text(), _WORLD]
    return home() / "sandbox" / hashlib.sha256("\n".join(key_parts).encode()).hexdigest()[:16]


def _build(engine: wasmtime.Engine, folder: Path) -> None:
    """Compile CPython with the guest in it. It takes 30 s of one core (measured).

    ``folder`` is temporary, with a name that begins with a dot. The finished folders beside it have
    interpreters of other versions, 60 MB each, and are removed.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name:
        work = Path(name)
        (work / "world.wit").write_text(_WORLD)
        shutil.copy(_GUEST, work / "guest.py")
        process = subprocess.run(
            [
                *(sys.executable, "-c", _BUILD, "-d", "world.wit", "-w", "sandbox"),
                *("componentize", "guest", "-o", "python.wasm"),
            ],
            cwd=work,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if process.returncode:
            message = process.stderr.strip().partition("\n\n")[0].rpartition("\n")[2]
            _refuse(f"componentize-py failed: {message}")
        python = component.Component.from_file(engine, str(work / "python.wasm"))
    (folder / _COMPILED).write_bytes(python.serialize())
    for old_folder in folder.parent.glob("[!.]*/"):
        shutil.rmtree(old_folder, ignore_errors=True)


def _read(engine: wasmtime.Engine, path: Path) -> component.Component | None:
    """The compiled interpreter, if it can be used and only this user can write it.

    It is machine code that runs outside of any sandbox.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(handle)
        if state.st_uid != os.geteuid() or state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
        try:
            return component.Component.deserialize(engine, file.read())
        except wasmtime.WasmtimeError:  # truncated, or for another processor
            return None


def _refuse(why: object) -> NoReturn:
    raise RunError(
        "code that a model wrote cannot be run safely here, so it was not run",
        why=str(why).strip().splitlines()[0],
        fix="Set SWEEPER_HOME to a folder of your own, or leave --run-generated-code out.",
    )
