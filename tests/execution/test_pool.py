from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from sweeper.execution.ledger import Ledger
from sweeper.execution.pool import Ended, Pool, Process

from sweeper.execution.events import Event
from sweeper.execution.progress import Progress
from sweeper.runfolder import RunFolder


def pool(tmp_path: Path, size: int) -> Pool:
    return Pool(RunFolder(tmp_path), "sqlite:///x", "m:f", size)


def test_each_worker_gets_what_it_was_placed_with_but_the_users_threads_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    placed = [
        {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": gpu}
        for gpu in ("4", "5")
    ]
    environment = Pool(RunFolder(tmp_path), "sqlite:///x", "m:f", 2, placed)._environment("1")
    assert environment["CUDA_VISIBLE_DEVICES"] == "5"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_storages_url_is_not_among_the_arguments_that_anybody_can_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def refuse(command: list[str], **_options: object) -> None:
        seen.append(command)
        raise OSError

    monkeypatch.setattr("subprocess.Popen", refuse)
    with pytest.raises(OSError):  # noqa: PT011 - raised above
        pool(tmp_path, 1).start()
    assert "sqlite:///x" not in " ".join(seen[0])


def test_an_end_says_how_the_worker_died() -> None:
    assert str(Ended("0", "o", -9, False)) == "worker 0 was killed by SIGKILL"
    assert str(Ended("1", "o", 70, False)) == "worker 1 ended with status 70"


def event(kind: str, **fields: object) -> Event:
    return Event.model_validate({"kind": kind, "at": "t", "worker": "0", **fields})


def test_status_shows_what_a_worker_is_busy_with_until_it_ends(tmp_path: Path) -> None:
    progress = Progress(Ledger(RunFolder(tmp_path)), total=4, started_at="t")
    progress.hear(event("trial-started", trial=2, attempt=1, strategy="lora", rungs=8))
    progress.hear(event("rung", trial=2, rung=3, validation_loss=0.5, optimizer_steps=30))
    (running,) = progress.status().running
    assert (running.trial, running.rung, running.validation_loss) == (2, 3, 0.5)
    progress.hear(event("worker-ended"))
    assert progress.status().running == ()
    assert progress.status().eta is None


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print(child.pid, flush=True)
time.sleep(1000 if sys.argv[1] == "stays" else 0)
"""


@pytest.mark.parametrize("how", ["stays", "ends"])
def test_what_a_worker_has_started_ends_with_it(tmp_path: Path, how: str) -> None:
    """As the processes on single GPUs, which a worker that is killed cannot end any more."""
    popen = subprocess.Popen(
        [sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE, start_new_session=True
    )
    assert popen.stdout is not None
    child = psutil.Process(int(popen.stdout.readline()))
    os.set_blocking(popen.stdout.fileno(), False)
    workers = pool(tmp_path, 0)
    workers.processes.append(Process("0", popen, "h/1/0", tmp_path / "log"))
    if how == "stays":
        popen.send_signal(signal.SIGKILL)
    said: list[object] = []
    while not said:
        said += workers.poll(0.1)
    status = -signal.SIGKILL if how == "stays" else 0
    assert said == [Ended("0", "h/1/0", status, asked=status == 0)]
    child.wait(10)


def test_a_pool_that_is_killed_leaves_nothing_that_its_workers_have_started(tmp_path: Path) -> None:
    popen = subprocess.Popen(
        [sys.executable, "-c", PARENT, "stays"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert popen.stdout is not None
    child = psutil.Process(int(popen.stdout.readline()))
    workers = pool(tmp_path, 0)
    workers.processes.append(Process("0", popen, "h/1/0", tmp_path / "log"))
    workers.kill()
    child.wait(10)
    popen.communicate()
