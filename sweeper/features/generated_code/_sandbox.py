"""The command that starts a script of the standard library in a bubblewrap sandbox.

The sandbox holds the Python interpreter and its libraries, read-only, and an empty ``/tmp``. A
seccomp filter allows one process only, so the limit on its memory is a limit on everything that
runs there.
"""

from __future__ import annotations

import functools
import platform
import shutil
import struct
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from sweeper.errors import RunError

INSTALL = (
    "Install bubblewrap (apt install bubblewrap, dnf install bubblewrap) on Linux with user "
    "namespaces allowed, or leave --run-generated-code out."
)
ENVIRONMENT = {"PYTHONHASHSEED": "0"}
"""The whole environment of bubblewrap, which a program reads in ``/proc/1/environ``.

A fixed seed of hashes gives a program the same result every time.
"""
_SCRIPT = "/script.py"
# The user and group that Linux distributions call nobody.
_NOBODY = "65534"

# Refused system calls, by their numbers on x86_64 and aarch64 (asm/unistd_64.h,
# asm-generic/unistd.h). x86_64 alone has fork and vfork.
_REFUSED = {
    "x86_64": {"fork": 57, "vfork": 58, "unshare": 272, "setns": 308}
    | {"shmget": 29, "semget": 64, "msgget": 68}
    | {"memfd_create": 319, "memfd_secret": 447, "io_uring_setup": 425}
    | {"add_key": 248, "request_key": 249, "keyctl": 250, "ptrace": 101},
    "aarch64": {"unshare": 97, "setns": 268}
    | {"shmget": 194, "semget": 190, "msgget": 186}
    | {"memfd_create": 279, "memfd_secret": 447, "io_uring_setup": 425}
    | {"add_key": 217, "request_key": 218, "keyctl": 219, "ptrace": 117},
}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_X32 = 0x40000000  # numbers from here on are the second ABI of x86_64
_CLONE_THREAD = 0x00010000
# linux/bpf_common.h and linux/seccomp.h
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _ENOSYS = 0x7FFF0000, 0x00050001, 0x00050026
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16


def command(script: Path, arguments: list[str], *, tmp_bytes: int, filter_fd: int) -> list[str]:
    """A command line that runs a script in a sandbox of its own. Start it with ``ENVIRONMENT``.

    Args:
        script: Python source that needs only the standard library.
        tmp_bytes: How much fits in ``/tmp``, the only folder that can be written to.
        filter_fd: An inherited file descriptor to read ``system_call_filter()`` from.

    Raises:
        RunError: bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise RunError(
            "code that a model wrote cannot be run safely here, so it was not run",
            why="bubblewrap (the command bwrap) is not installed.",
            fix=INSTALL,
        )
    return [
        bwrap,
        *("--unshare-user", "--unshare-all", "--uid", _NOBODY, "--gid", _NOBODY),
        *("--cap-drop", "ALL", "--new-session", "--die-with-parent", "--hostname", "sandbox"),
        *_interpreter(),
        *("--ro-bind", str(script), _SCRIPT),
        # Files of root in /proc/sys can be written without capabilities where sweeper runs as root.
        *("--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev", "--remount-ro", "/dev"),
        *("--size", str(tmp_bytes), "--tmpfs", "/tmp", "--chdir", "/tmp"),
        *("--remount-ro", "/", "--seccomp", str(filter_fd)),
        *("--", str(_python()), "-s", "-S", "-P", "-B", _SCRIPT, *arguments),
    ]


def _python() -> Path:
    """The interpreter itself: a virtual environment only links to it."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


@functools.cache
def _interpreter() -> tuple[str, ...]:
    """Binds of the interpreter, the standard library and the system's shared libraries."""
    standard = Path(sysconfig.get_path("stdlib"))
    system = [Path(name) for name in ("/usr/lib", "/usr/lib64", "/lib", "/lib64")]
    wanted = [*system, Path("/etc/ld.so.cache"), _python(), *_own_libraries(), standard]
    options: list[str] = []
    for path in wanted:
        if path in system and path.is_symlink():
            options += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists() and not any(folder in path.parents for folder in system):
            options += ["--ro-bind", str(path), str(path)]
    # Programs get the standard library alone, wherever sweeper runs.
    for name in ("site-packages", "dist-packages"):
        if (standard / name).is_dir():
            options += ["--tmpfs", str(standard / name), "--remount-ro", str(standard / name)]
    return tuple(options)


def _own_libraries() -> Iterator[Path]:
    """libpython, where the interpreter does not come from the system."""
    folder = Path(sys.base_prefix) / "lib"
    if sys.base_prefix != "/usr":
        yield from sorted(folder.glob("*.so*"))


def system_call_filter() -> bytes:
    """A seccomp program: threads but no processes, and no memory that ``RLIMIT_AS`` leaves out.

    It also refuses new namespaces, in which a program would have all capabilities, the kernel's
    keyrings, which no namespace separates, and tracing.

    Raises:
        RunError: The numbers of system calls on this processor are not known here.
    """
    machine = platform.machine()
    if machine not in _REFUSED:
        raise RunError(
            "code that a model wrote cannot be run safely here, so it was not run",
            why=f"The sandbox supports x86_64 and aarch64, and this is {machine}.",
            fix="Leave --run-generated-code out, or run it on such a machine.",
        )
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURE[machine]),
        (_RETURN, 0, 0, _EPERM),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _EPERM),
    ]
    for number in _REFUSED[machine].values():
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _EPERM)]
    steps += [
        # Its arguments are behind a pointer; the C library falls back on clone.
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ENOSYS),
        (_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_HAS_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
