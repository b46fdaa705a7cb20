"""Runs one program that nobody has read, cut off from network, files and other processes.

A script of its own that needs only the standard library: ``python -I -S sandbox.py FD`` reads a
JSON request from its standard input and writes JSON lines to the file descriptor. It says
``isolated`` only after every wall stands, and ``refused`` if one of them cannot be built.

It guards against accidents: endless loops, deleted files, programs that download. A program that
looks for its judge within its own process could still claim to have passed.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

# Linux: sched.h, mount.h. The number of mount_setattr is the same on all architectures.
_NEW_NAMESPACES = 0x10000000 | 0x40000000 | 0x00020000 | 0x08000000 | 0x20000000 | 0x04000000
_MOUNT_SETATTR, _AT_RECURSIVE, _READ_ONLY, _MAKE_PRIVATE = 442, 0x8000, 0x1, 1 << 18
_AT_FDCWD = -100
_STARTS_PROCESSES = (
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.exec",
    "os.system",
    "subprocess.Popen",
)
_TOO_LATE = (signal.SIGALRM, signal.SIGXCPU)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def isolate(folder: str, file_mib: int) -> None:
    """Leave this process without network, and with one small folder that it may write to.

    Args:
        folder: Becomes empty, and the only place to write to; its content goes with the process.
        file_mib: How much fits in there.

    Raises:
        OSError: The kernel does not let this user build one of the walls.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    _checked(libc.unshare(_NEW_NAMESPACES), "new namespaces")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")
    attributes = _MountAttributes(_READ_ONLY, 0, _MAKE_PRIVATE, 0)
    size = ctypes.sizeof(attributes)
    _checked(
        libc.syscall(
            _MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, ctypes.byref(attributes), size
        ),
        "read-only files",
    )
    options = f"size={file_mib}m,mode=700".encode()
    for place in (folder, "/proc"):
        _checked(libc.mount(b"tmpfs", place.encode(), b"tmpfs", 0, options), f"cover {place}")
    os.chdir(folder)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def limit(memory_mib: int, seconds: float, file_mib: int) -> None:
    """Bound what this process and each of its children may use."""
    mib, cpu = 1 << 20, int(seconds) + 1
    bounds = {
        resource.RLIMIT_AS: (memory_mib * mib, memory_mib * mib),
        # First the signal that says why, then the one that cannot be ignored.
        resource.RLIMIT_CPU: (cpu, cpu + 1),
        resource.RLIMIT_FSIZE: (file_mib * mib, file_mib * mib),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_NPROC: (16, 16),
    }
    for kind, bound in bounds.items():
        resource.setrlimit(kind, bound)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _no_processes(event: str, _: tuple[Any, ...]) -> None:
    # The kernel's bound on processes does not hold for root.
    if event in _STARTS_PROCESSES:
        raise PermissionError(f"{event} is not allowed here")


def _run(request: dict[str, Any], say: Any) -> None:
    """Run the parts one after the other; they share one namespace, as one program would."""
    sys.addaudithook(_no_processes)
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for part in request["parts"]:
            exec(compile(part, "<program>", "exec"), names)
    except MemoryError:
        say(outcome="memory", detail="MemoryError")
    except BaseException as error:  # noqa: BLE001 - whatever the program raises is its outcome
        detail = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        say(outcome="failed", detail=detail)
    else:
        say(outcome="passed", detail="")


def main() -> int:
    """Read the request, build the walls, run the program in a first process of its own."""
    channel = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    request = json.loads(sys.stdin.read())

    def say(**fields: str) -> None:
        channel.write(json.dumps(fields) + "\n")
        channel.flush()

    try:
        isolate(request["folder"], request["file_mib"])
    except OSError as error:
        say(outcome="refused", detail=str(error))
        return 0
    # The first process of a process namespace takes all others with it when it ends, and is the
    # only one that signals do not stop; the program is the second.
    if (first := os.fork()) == 0:
        _guard(request, say)
        os._exit(0)
    os.waitpid(first, 0)
    return 0


def _guard(request: dict[str, Any], say: Any) -> None:
    """Run the program in a process of its own, and say so if it was stopped in time."""
    program = os.fork()
    if program == 0:
        limit(request["memory_mib"], request["seconds"], request["file_mib"])
        say(outcome="isolated", detail="")
        _run(request, say)
        os._exit(0)
    status = os.waitpid(program, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in _TOO_LATE:
        say(outcome="timeout", detail=f"not done after {request['seconds']:g} s")


if __name__ == "__main__":
    raise SystemExit(main())
