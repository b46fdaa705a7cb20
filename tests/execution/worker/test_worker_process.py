"""A worker as the process that it is: what it loads, and how it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from curve_backend import make_plan, make_spec

from sweeper.child_process import Child, start_child
from sweeper.errors import NotInstalled, RunError
from sweeper.execution.job import Close, Job, WorkerRequest, line_of
from sweeper.execution.pools.local_pool import WORKER
from sweeper.execution.worker.process import load_backend
from sweeper.runfolder import RunFolder

# A backend that leaves word of what its process has loaded by the end of its first job.
LOOKING = """
import json, sys
from pathlib import Path
import curve_backend


class Looking(curve_backend.CurveBackend):
    def close(self):
        Path(self._run.path / "modules.json").write_text(json.dumps(sorted(sys.modules)))


def make(run, plan, spec, tell):
    return Looking(run)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = RunFolder(tmp_path / "run")
    make_plan(1).write(made.plan)
    return made


@pytest.fixture
def start(run: RunFolder) -> Iterator[Callable[[str], Child]]:
    with ExitStack() as started:

        def start(backend: str) -> Child:
            fields = {"spec": make_spec(1), "backend": backend, "run": str(run.path)}
            request = WorkerRequest(**fields, worker="0")
            return started.enter_context(start_child(WORKER, request, env=os.environ))

        yield start


def said(child: Child) -> list[bytes]:
    """All lines until its end."""
    lines: list[bytes] = []
    while not child.closed:
        lines += child.lines(300)
    return lines


def kinds(lines: Iterable[bytes]) -> Iterator[str]:
    """The kinds of messages; a slow start may be longer than the time between two beats."""
    return (kind for line in lines if (kind := line.split()[0].decode()) != "Heartbeat")


BASELINES = Job(kind="baselines", name="baselines")


def test_a_worker_loads_neither_optuna_nor_a_database_nor_torch(
    run: RunFolder, start: Callable[[str], Child], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "looking.py").write_text(LOOKING)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    worker = start("looking:make")
    worker.send(line_of(BASELINES) + line_of(Close()))
    said(worker)
    assert worker.wait(300) == 0, worker.last_errors()
    loaded = set(json.loads((run.path / "modules.json").read_text()))
    assert "sweeper.execution.worker.session" in loaded
    assert not loaded & {"optuna", "sqlalchemy", "torch", "ray", "sweeper.search"}


@pytest.mark.parametrize("how", ["closed pipe", "TERM"])
def test_a_worker_ends_well_when_its_command_is_gone_or_somebody_ends_it(
    start: Callable[[str], Child], how: str
) -> None:
    worker, heard = start("curve_backend:make"), list[str]()
    while len(heard) < 2 and not worker.closed:
        heard += kinds(worker.lines(300))
    assert heard == ["Hello", "Ready"]
    if how == "TERM":
        worker.process.send_signal(signal.SIGTERM)
    else:
        worker.end_input()
    assert worker.wait(300) == 0


def test_a_backend_that_is_not_there_is_named() -> None:
    with pytest.raises(NotInstalled):
        load_backend("no_such_module:make")
    with pytest.raises(RunError, match="'make_spec'"):
        load_backend("curve_backend:make_spek")


def test_what_libraries_print_goes_to_the_log(start, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "loud.py").write_text(
        "print('hello', flush=True)\nfrom curve_backend import make\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    worker = start("loud:make")
    worker.send(line_of(Close()))
    assert list(kinds(said(worker))) == ["Hello", "Ready"]
    assert "hello" in worker.last_errors()
