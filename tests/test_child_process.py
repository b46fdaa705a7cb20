from __future__ import annotations

import signal
from pathlib import Path

import pytest

from sweeper.child_process import NoAnswer, ask, quiet_threads


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module that processes of this test find under the name ``asked``."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "asked.py"


def test_the_last_line_is_the_answer(module: Path) -> None:
    module.write_text("import os\nprint('noise')\nprint(input(), os.environ['OMP_NUM_THREADS'])")
    assert ask("asked", "a question", seconds=30, threads=3) == "a question 3"


@pytest.mark.parametrize(
    ("code", "reason", "status"),
    [
        ("raise SystemExit('no torch here')", "no torch here", 1),
        ("raise SystemExit(7)", "it ended with 7", 7),
        ("import os\nos.kill(os.getpid(), 9)", "it ended with -9", -signal.SIGKILL),
        ("import time\ntime.sleep(30)", "it took longer than 0.5 s", None),
    ],
)
def test_no_answer_has_a_reason(module: Path, code: str, reason: str, status: int | None) -> None:
    module.write_text(code)
    with pytest.raises(NoAnswer) as caught:
        ask("asked", "", seconds=0.5 if status is None else 30)
    assert (str(caught.value), caught.value.status) == (reason, status)


def test_threads_wait_without_spinning() -> None:
    environment = quiet_threads(4)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "4"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["TOKENIZERS_PARALLELISM"] == "false"
