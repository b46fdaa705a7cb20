"""Processes of this machine: what they get, how their ends are told, what ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from curve_backend import make_plan, make_spec

from sweeper.child_process import Child
from sweeper.execution.job import (
    Briefing,
    Close,
    Heartbeat,
    Hello,
    Job,
    JobEnded,
    Message,
    Ready,
    Stop,
)
from sweeper.execution.pools.local_pool import LocalPool, OomKills
from sweeper.execution.pools.pool import WorkerGone, WorkerMessage, last_log_lines, log_of
from sweeper.runfolder import RunFolder
from sweeper.trials import BaselineResult


def a_briefing(run: RunFolder) -> Briefing:
    return Briefing(spec=make_spec(1), backend="curve_backend:make")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    make_plan(1).write(made.plan)
    return made


@pytest.fixture
def pool(run: RunFolder) -> Iterator[LocalPool]:
    made = LocalPool(run, a_briefing(run), [{}, {}], oom_kills=OomKills(None))
    yield made
    made.close()


def hear(
    pool: LocalPool, until: Callable[[WorkerMessage | WorkerGone], bool], seconds: float = 300.0
) -> list:
    """All that happens up to and with that."""
    heard: list[WorkerMessage | WorkerGone] = []
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        for one in pool.poll(0.1):
            heard.append(one)
            if until(one):
                return heard
    raise AssertionError(f"it did not happen; heard {heard}")


def is_a(kind: type[Message]) -> Callable[[WorkerMessage | WorkerGone], bool]:
    return lambda heard: isinstance(heard, WorkerMessage) and isinstance(heard.message, kind)


def is_gone(heard: WorkerMessage | WorkerGone) -> bool:
    return isinstance(heard, WorkerGone)


def test_a_worker_says_hello_does_a_job_and_ends_when_it_is_told(
    pool: LocalPool, run: RunFolder
) -> None:
    pool.start(1)
    hello = hear(pool, is_a(Hello))[-1].message
    assert hello.process in [child.process.pid for child in pool._children.values()]
    assert hello.problems == ()
    hear(pool, is_a(Ready))
    pool.send("0", Job(kind="baselines", name="baselines"))
    heard = hear(pool, is_a(JobEnded))
    assert heard[-1].message == JobEnded()
    said = [one.message for one in heard if isinstance(one.message, BaselineResult)]
    assert [one.name for one in said] == ["majority", "tfidf"]
    pool.send("0", Close())
    assert hear(pool, is_gone)[-1] == WorkerGone("0", 0)
    assert not pool.workers
    pool.send("0", Stop())  # nobody is there: that is no error


def test_a_killed_worker_is_told_of_after_its_last_message(pool: LocalPool) -> None:
    pool.start(1)
    hear(pool, is_a(Ready))
    pool.kill("0")
    *before, last = hear(pool, is_gone)
    assert last == WorkerGone("0", -signal.SIGKILL)
    assert all(is_a(Heartbeat)(one) for one in before)


def test_a_backend_that_cannot_load_leaves_its_reason_in_the_log(run: RunFolder) -> None:
    briefing = a_briefing(run).model_copy(update={"backend": "no_such_module:make"})
    pool = LocalPool(run, briefing, [{}], oom_kills=OomKills(None))
    pool.start(1)
    assert hear(pool, is_gone)[-1] == WorkerGone("0", 1)
    assert "no_such_module" in last_log_lines(run, "0")
    pool.close()


def test_the_log_is_that_of_the_latest_worker_at_its_end(run: RunFolder) -> None:
    log_of(run, "0").write_text("1\n2\n\n3\n  \n4\n5\n6\n")
    assert last_log_lines(run, "0") == "2\n3\n4\n5\n6"
    assert last_log_lines(run, "1") == ""


def launches(monkeypatch: pytest.MonkeyPatch, pool: LocalPool) -> list[str]:
    """Which workers are launched; none of them really is."""
    started: list[str] = []
    monkeypatch.setattr(pool, "_launch", lambda name: started.append(name))
    monkeypatch.setattr(pool, "_add", lambda name, _none: pool._children.setdefault(name, None))
    return started


def test_there_are_never_more_workers_than_work_or_places(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = LocalPool(run, a_briefing(run), [{}] * 3, oom_kills=OomKills(None))
    started = launches(monkeypatch, pool)
    pool.start(2)
    pool.start(1)
    assert started == ["0", "1"]
    pool.start(9)
    assert started == ["0", "1", "2"]
    del pool._children["0"], pool._children["1"]
    pool.start(1)  # worker 2 has the last job
    assert started == ["0", "1", "2"]
    pool.start(2)
    assert started == ["0", "1", "2", "0"]
    pool._children.clear()


def test_each_worker_gets_what_it_was_placed_with_but_the_users_threads_stay(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "max_split_size_mb:64")
    for name in ("OMP_WAIT_POLICY", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    placed = [
        {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": gpu}
        for gpu in ("4", "5")
    ]
    pool = LocalPool(run, a_briefing(run), placed)
    environment = pool._environment("1")
    assert environment["CUDA_VISIBLE_DEVICES"] == "5"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["PYTORCH_ALLOC_CONF"] == "max_split_size_mb:64"
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    monkeypatch.delenv("PYTORCH_ALLOC_CONF")
    environment = pool._environment("1")
    assert environment["CUDA_DEVICE_ORDER"] == "FASTEST_FIRST"
    assert environment["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"


@pytest.mark.parametrize("kills", [3, 4])
def test_a_kill_that_the_counter_knows_of_is_one_for_memory(run: RunFolder, kills: int) -> None:
    counter = run.path / "memory.events"
    counter.write_text("oom_kill 3\n")
    pool = LocalPool(run, a_briefing(run), [{}], oom_kills=OomKills(counter))
    popen = sleeps("stays")
    pool._add("0", Child(popen))
    counter.write_text(f"oom_kill {kills}\n")
    popen.kill()
    assert hear(pool, is_gone) == [WorkerGone("0", -9, out_of_memory=kills == 4)]
    pool.close()


@pytest.mark.parametrize("says", ["Error out of memory", "Error an illegal memory access"])
def test_bitsandbytes_ends_the_process_where_a_gpu_has_no_more_memory(
    run: RunFolder, says: str
) -> None:
    pool = LocalPool(run, a_briefing(run), [{}], oom_kills=OomKills(None))
    log_of(run, "0").write_text(f"{says} at line 380 in file /src/csrc/pythonInterface.cpp\n")
    command = [sys.executable, "-c", "import os; os._exit(1)"]
    pipe = subprocess.PIPE
    pool._add("0", Child(subprocess.Popen(command, stdin=pipe, stdout=pipe)))
    assert hear(pool, is_gone) == [WorkerGone("0", 1, out_of_memory="out of" in says)]
    pool.close()


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print(child.pid, flush=True)
time.sleep(1000 if sys.argv[1] == "stays" else 0)
"""


def sleeps(how: str) -> subprocess.Popen[bytes]:
    """A process that has started another one, and stays or ends."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize("how", ["stays", "ends"])
def test_what_a_worker_has_started_ends_with_it(pool: LocalPool, how: str) -> None:
    """As the processes on single GPUs, which a worker that is killed cannot end any more."""
    popen = sleeps(how)
    assert popen.stdout is not None
    child = psutil.Process(int(popen.stdout.readline()))
    pool._add("0", Child(popen))
    if how == "stays":
        popen.send_signal(signal.SIGKILL)
    assert hear(pool, is_gone) == [WorkerGone("0", -signal.SIGKILL if how == "stays" else 0)]
    child.wait(300)


def test_a_pool_that_is_closed_leaves_nothing_that_its_workers_have_started(
    pool: LocalPool,
) -> None:
    popen = sleeps("stays")
    assert popen.stdout is not None
    child = psutil.Process(int(popen.stdout.readline()))
    pool._add("0", Child(popen))
    pool.close()
    child.wait(300)
    assert not pool.workers


def test_half_a_line_and_noise_of_a_killed_worker_say_nothing(pool: LocalPool) -> None:
    words = 'print("noise"); print("Ready {}"); print("Ready {", end="")'
    popen = subprocess.Popen(
        [sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    pool._add("0", Child(popen))
    heard = hear(pool, is_gone)
    assert heard == [WorkerMessage("0", Ready()), WorkerGone("0", 0)]


def test_the_parents_signals_are_not_the_workers(pool: LocalPool) -> None:
    pool.start(1)
    hello = hear(pool, is_a(Hello))[-1].message
    assert os.getpgid(hello.process) != os.getpgid(0)
