"""The seccomp filter, interpreted for both processors, with the numbers of the kernel's headers."""

from __future__ import annotations

import errno
import platform
import re
import struct
from pathlib import Path

import pytest

from sweeper.features.generated_code import _sandbox as sandbox

INCLUDE = Path("/usr/include")
HEADERS = {
    "x86_64": ("x86_64-linux-gnu/asm/unistd_64.h", "asm/unistd_64.h"),
    "aarch64": ("asm-generic/unistd.h",),
}
# linux/audit.h: the machine's number in ELF, and the bits of 64-bit and little-endian.
AUDIT = {"x86_64": 62 | 0xC0000000, "aarch64": 183 | 0xC0000000}
ALLOW = 0x7FFF0000


def allowed(program: bytes, number: int, *, architecture: int, argument: int = 0) -> int:
    """What a filter returns for a system call: 0 if it is allowed, else the error's number."""
    data = struct.pack("=iIQQ5Q", number, architecture, 0, argument, *[0] * 5)
    steps = list(struct.iter_unpack("=HBBI", program))
    place = loaded = 0
    while True:
        code, jump_true, jump_false, value = steps[place]
        place += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (loaded,) = struct.unpack_from("=I", data, value)
        elif code == 0x06:  # BPF_RET | BPF_K
            assert value == ALLOW or value >> 16 == 5
            return 0 if value == ALLOW else value & 0xFFFF
        else:  # BPF_JMP with BPF_JEQ, BPF_JGE and BPF_JSET
            met = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            place += jump_true if met else jump_false


def numbers(machine: str) -> dict[str, int]:
    """The system calls of a processor by name, from the kernel's headers."""
    found = (INCLUDE / name for name in HEADERS[machine] if (INCLUDE / name).is_file())
    if (header := next(found, None)) is None:
        pytest.skip("the kernel's headers are not installed (apt-get install linux-libc-dev)")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)$", header.read_text(), re.MULTILINE)
    return {name: int(number) for name, number in defined}


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(platform, "machine", lambda: request.param)
    return str(request.param)


def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    kernel = numbers(machine)
    ours = sandbox._REFUSED[machine] | {"clone": sandbox._CLONE[machine], "clone3": sandbox._CLONE3}
    assert {name: kernel[name] for name in ours} == ours
    assert sandbox._ARCHITECTURE[machine] == AUDIT[machine]


def test_the_filter_lets_threads_and_plain_calls_through_alone(machine: str) -> None:
    program, kernel, here = sandbox.system_call_filter(), numbers(machine), AUDIT[machine]

    def answer(name: str, argument: int = 0) -> int:
        return allowed(program, kernel[name], architecture=here, argument=argument)

    for name in ("read", "write", "mmap", "openat", "execve", "futex", "exit_group"):
        assert answer(name) == 0
    for name in ("unshare", "setns", "ptrace", "memfd_create", "io_uring_setup", "msgget"):
        assert answer(name) == errno.EPERM
    assert answer("clone", 0x00010000 | 0x100) == 0  # CLONE_THREAD | CLONE_VM
    assert answer("clone", 17) == errno.EPERM  # SIGCHLD: a process
    assert answer("clone3") == errno.ENOSYS
    for name in {"fork", "vfork"} & kernel.keys():
        assert answer(name) == errno.EPERM


def test_other_tables_of_system_calls_are_closed(machine: str) -> None:
    program, here = sandbox.system_call_filter(), AUDIT[machine]
    others = [0x40000003, 0x40000028, *(set(AUDIT.values()) - {here})]  # i386, arm
    for other in others:
        assert allowed(program, 0, architecture=other) == errno.EPERM
    assert allowed(program, 0x40000000, architecture=here) == errno.EPERM  # x32
