from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.errors import RunError, UsageError
from sweeper.evaluation import code_execution, sandbox
from sweeper.evaluation.code_execution import Limits, can_isolate, run_program

WHY_NOT = can_isolate()
isolated = pytest.mark.skipif(WHY_NOT is not None, reason=f"no isolation here: {WHY_NOT}")
QUICK = Limits(seconds=2, memory_mib=256, file_mib=1)

# A program, its test, how it must end, and what the detail must say.
ENDINGS = {
    "right": ("def f(x): return x + 1", "assert f(1) == 2", "passed", ""),
    "wrong": ("def f(x): return x", "assert f(1) == 2, 'not two'", "failed", "not two"),
    "broken": ("def f(x) return x", "", "failed", "SyntaxError"),
    "leaves before its test": ("import os; os._exit(0)", "assert False", "crash", "without a word"),
    "leaves politely": ("raise SystemExit(0)", "assert False", "failed", "SystemExit"),
    "endless": ("while True: pass", "", "timeout", "2 s"),
    "asleep": ("import time; time.sleep(60)", "", "timeout", "2 s"),
    "greedy": ("x = bytearray(1 << 30)", "", "memory", "MemoryError"),
    "asks": ("input()", "", "failed", "EOFError"),
    "calls out": (
        "import socket; socket.create_connection(('192.0.2.1', 80), 2)",
        "",
        "failed",
        "unreachable",
    ),
    "calls itself by network": (
        "import socket\ns = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
        "socket.create_connection(s.getsockname(), 1)",
        "",
        "failed",
        "unreachable",
    ),
    "writes in its folder": (
        "open('note', 'w').write('hello')",
        "assert open('note').read() == 'hello'",
        "passed",
        "",
    ),
    "writes too much": ("open('big', 'wb').write(bytes(8 << 20))", "", "failed", "File too large"),
    "starts processes": ("import os; os.fork()", "", "failed", "not allowed"),
    "runs a shell": ("import os; os.system('true')", "", "failed", "not allowed"),
    "looks at others": ("import os; assert os.listdir('/proc')", "", "failed", "AssertionError"),
}


@isolated
@pytest.mark.parametrize("name", ENDINGS)
def test_a_program_ends_as_it_must(name: str) -> None:
    program, test, result, detail = ENDINGS[name]

    outcome = run_program(program, [test], permitted=True, limits=QUICK)

    assert outcome.result == result
    assert detail in outcome.detail
    assert outcome.passed == (result == "passed")


@isolated
def test_files_of_this_machine_cannot_be_changed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")

    for attempt in (f"open({str(kept)!r}, 'w')", f"import os; os.remove({str(kept)!r})"):
        outcome = run_program(attempt, [], permitted=True, limits=QUICK)
        assert "Read-only" in outcome.detail

    assert kept.read_text() == "mine"


@isolated
def test_nothing_of_a_program_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(code_execution.tempfile, "tempdir", str(tmp_path))

    run_program("open('left', 'w').write('x')", [], permitted=True, limits=QUICK)

    assert list(tmp_path.iterdir()) == []


@isolated
def test_no_secret_of_the_environment_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")

    program = "import os; assert 'HF_TOKEN' not in os.environ"
    assert run_program(program, [], permitted=True, limits=QUICK).passed


def test_nothing_runs_without_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_execution, "_lines", _never)

    with pytest.raises(UsageError, match="needs permission"):
        run_program("", [], permitted=False)


def _never(*arguments: object) -> None:
    raise AssertionError("something was started")


def test_nothing_runs_where_a_wall_cannot_be_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The same script with a namespace flag that no kernel knows.
    script = tmp_path / "sandbox.py"
    source = Path(sandbox.__file__).read_text()
    script.write_text(source.replace("_NEW_NAMESPACES = ", "_NEW_NAMESPACES = 0x1 | "))
    monkeypatch.setattr(sandbox, "__file__", str(script))
    mark = tmp_path / "ran"

    with pytest.raises(RunError, match="was not run"):
        run_program(f"open({str(mark)!r}, 'w')", [], permitted=True)

    assert not mark.exists()
    assert "new namespaces" in str(can_isolate())
