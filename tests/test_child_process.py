"""A function is called in a process of its own, and its errors are the caller's."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
import pytest

import sweeper
from sweeper.artifact import Record
from sweeper.child_process import (
    in_child,
    start_child,
    tell,
    tell_progress,
    thread_settings,
    torch_settings,
)
from sweeper.errors import ChildFailed, DataError
from sweeper.facts.models.chat_template import TemplateTexts
from sweeper.spec import ModelSpec

CALLED = """
import gc, os, sys, time
from sweeper import child_process
from sweeper.artifact import Record
from sweeper.child_process import tell_event, tell_progress
from sweeper.errors import DataError, Problem
from sweeper.facts.models.chat_template import TemplateTexts
from sweeper.spec import ModelSpec

def echo(request: TemplateTexts) -> TemplateTexts:
    print('{"answer": "noise"}')
    os.system("echo noise")
    return TemplateTexts(texts=(*request.texts, os.environ["OMP_NUM_THREADS"]))

AT_IMPORT = gc.isenabled()

def collects(request: TemplateTexts) -> TemplateTexts:
    return TemplateTexts(texts=(str(AT_IMPORT), str(gc.isenabled())))

def works(request: ModelSpec) -> None:
    for done in range(3):
        tell_progress("reading", done, 3)
    tell_event(model=request.id)
    print("to the log", file=sys.stderr)

def refuses(request: Record) -> None:
    raise DataError([Problem("what", "why", "fix", "where", "case"), Problem("more")])

def breaks(request: Record) -> None:
    raise SystemExit("no torch here")

def ends(request: Record) -> None:
    raise SystemExit(7)

def is_killed(request: Record) -> None:
    os.kill(os.getpid(), 9)

def is_cut_off(request: Record) -> None:
    print('{"answer": {', file=child_process._pipe, flush=True, end="")
    os.kill(os.getpid(), 9)

def sleeps(request: ModelSpec) -> None:
    open(request.id, "w").write(str(os.getpid()))
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that processes of this test find under the name ``called``."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "called.py").write_text(CALLED)


def test_what_a_function_returns_is_the_answer_whatever_it_prints() -> None:
    request = TemplateTexts(texts=("a \ud800 question",))  # as JSON may escape it
    found = in_child("called:echo", request, TemplateTexts, what="it", threads=3)
    assert found.texts == ("a \ud800 question", "3")


def test_a_large_request_takes_time_by_its_size_alone() -> None:
    request, before = TemplateTexts(texts=("x" * 1_000_000,)), os.times()
    answer = in_child("called:echo", request, TemplateTexts, what="it")
    assert len(answer.texts[0]) == 1_000_000
    used = os.times()
    # 1 s; half a minute if each byte copied all before it.
    assert used.children_user + used.children_system < (
        before.children_user + before.children_system + 15
    )


def test_garbage_is_collected_in_calls_but_not_in_imports() -> None:
    answer = in_child("called:collects", TemplateTexts(texts=()), TemplateTexts, what="it")
    assert answer.texts == ("False", "True")


def test_progress_and_events_are_heard_and_the_log_is_kept(tmp_path: Path) -> None:
    seen: list[object] = []
    log = tmp_path / "logs" / "log"
    in_child(
        "called:works",
        ModelSpec(id="m"),
        Record,
        what="it",
        work=lambda *state: seen.append(state),
        on_event=seen.append,
        log=log,
    )
    assert seen == [*(("reading", n, 3) for n in range(3)), {"model": "m"}]
    assert log.read_text() == "to the log\n"


def test_an_error_keeps_its_type_and_all_its_problems() -> None:
    with pytest.raises(DataError) as caught:
        in_child("called:refuses", Record(), Record, what="it")
    first, second = (vars(problem) for problem in caught.value.problems)
    assert first == {name: name for name in ("what", "why", "fix", "where")} | {"code": "case"}
    assert caught.value.code == "case"
    assert second["what"] == "more"


@pytest.mark.parametrize(
    ("name", "what", "status"),
    [
        ("breaks", "it ended with status 1: no torch here", 1),
        ("ends", "it ended with status 7", 7),
        ("is_killed", "it was killed by SIGKILL", -signal.SIGKILL),
        ("is_cut_off", "it was killed by SIGKILL", -signal.SIGKILL),
        (
            "missing",
            "it ended with status 1: AttributeError: module 'called' has no attribute 'missing'",
            1,
        ),
    ],
)
def test_a_process_that_breaks_is_told_with_its_last_line(
    name: str, what: str, status: int
) -> None:
    with pytest.raises(ChildFailed) as caught:
        in_child(f"called:{name}", Record(), Record, what="it", fix="fix", where="where")
    (problem,) = caught.value.problems
    assert (problem.what, problem.fix, problem.where) == (what, "fix", "where")
    assert (caught.value.status, caught.value.exit_code) == (status, 1)


def _sleeper(path: Path) -> psutil.Process:
    limit = time.monotonic() + 300
    while not (path.is_file() and path.read_text()) and time.monotonic() < limit:
        time.sleep(0.02)
    return psutil.Process(int(path.read_text()))


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    request = ModelSpec(id=str(tmp_path / "pid"))
    with pytest.raises(ChildFailed, match=r"it took longer than 0\.5 s") as caught:
        in_child("called:sleeps", request, Record, what="it", seconds=0.5)
    assert caught.value.status is None


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_the_caller(tmp_path: Path, how: signal.Signals) -> None:
    request = ModelSpec(id=str(tmp_path / "pid"))
    code = (
        "from sweeper.artifact import Record; from sweeper.child_process import in_child;"
        "from sweeper.spec import ModelSpec;"
        f"in_child('called:sleeps', ModelSpec(id={request.id!r}), Record, what='it')"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) as caller:
        child = _sleeper(Path(request.id))
        caller.send_signal(how)
        caller.wait(300)
    assert child.wait(300) is None or not child.is_running()


def test_an_exception_of_the_caller_ends_it(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(_event: object) -> None:
        raise Stop

    before = threading.active_count()
    children = set(psutil.Process().children())
    with pytest.raises(Stop):
        in_child("called:works", ModelSpec(id="m"), Record, what="it", on_event=stop)
    assert threading.active_count() <= before + 1
    assert set(psutil.Process().children()) <= children


def test_nothing_is_told_where_nobody_asked(capfd: pytest.CaptureFixture[str]) -> None:
    tell_progress("reading", 1, 3)
    tell(answer=1)
    assert capfd.readouterr().out == ""


def test_threads_wait_without_spinning() -> None:
    environment = thread_settings(4)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "4"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"


def test_only_the_command_and_the_child_process_are_programs() -> None:
    package = Path(sweeper.__file__).parent
    programs = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
    }
    assert programs == {"__main__.py", "child.py"}


def test_a_process_gets_settings_for_torch_unless_the_user_has_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    environments: list[dict[str, str]] = []

    def refused(_command: list[str], *, env: dict[str, str], **_: Any) -> None:
        environments.append(env)
        raise BlockingIOError

    monkeypatch.setattr(subprocess, "Popen", refused)
    for name in ("CUDA_DEVICE_ORDER", "PYTORCH_ALLOC_CONF", "TORCHDYNAMO_DISABLE"):
        monkeypatch.delenv(name, raising=False)
    for order in (None, "FASTEST_FIRST"):
        if order is not None:
            monkeypatch.setenv("CUDA_DEVICE_ORDER", order)
        with pytest.raises(BlockingIOError):
            start_child("module:function", Record())
    assert [env["CUDA_DEVICE_ORDER"] for env in environments] == ["PCI_BUS_ID", "FASTEST_FIRST"]
    assert {env["PYTORCH_ALLOC_CONF"] for env in environments} == {"expandable_segments:True"}
    assert {env["TORCHDYNAMO_DISABLE"] for env in environments} == {"1"}


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("2.8.0", "PYTORCH_CUDA_ALLOC_CONF"),
        ("2.9.1+cu128", "PYTORCH_CUDA_ALLOC_CONF"),
        ("2.13.0+cpu", "PYTORCH_ALLOC_CONF"),
    ],
)
def test_the_allocator_is_set_by_the_name_that_works_in_this_torch(monkeypatch, version, name):
    monkeypatch.setattr(metadata, "version", lambda package: {"torch": version}[package])
    assert torch_settings.__wrapped__()[name] == "expandable_segments:True"
