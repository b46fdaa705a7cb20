"""A process that is tied to its parent ends with it, however that ends."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

TIED = """
import os, time
from sweeper.child_process import die_with
die_with(os.getppid())
print(os.getpid(), flush=True)
time.sleep(600)
"""
STARTS = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {TIED!r}])"


def lives(process: psutil.Process) -> bool:
    # Nobody may have asked yet how it ended.
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_tied_process_ends_with_its_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        tied = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    limit = time.monotonic() + 300
    while lives(tied) and time.monotonic() < limit:
        time.sleep(0.02)
    assert not lives(tied)


def test_a_parent_that_is_gone_already_is_noticed() -> None:
    late = "from sweeper.child_process import die_with; die_with(1 << 30); print('went on')"
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, check=True, text=True)
    assert not done.stdout
