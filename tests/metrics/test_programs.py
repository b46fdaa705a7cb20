"""Generated programs are judged in the sandbox, with permission only."""

import pytest

from sweeper.errors import UsageError
from sweeper.metrics import programs

TESTS = "def check(f):\n    assert f(2) == 4\ncheck(double)"


def test_a_program_passes_or_fails_its_tests(monkeypatch):
    monkeypatch.setenv(programs.PERMISSION, "1")
    row = {"prompt": "def double(n):\n"}
    good, bad = programs.build_predictions([["    return 2 * n"], ["    return n"]], [row, row])
    assert programs.pass_at_1([TESTS], [good]) == {"pass@1": 1.0}
    assert programs.pass_at_1([TESTS, TESTS], [good, bad]) == {"pass@1": 0.5}
    assert programs.pass_at_1(["assert x == 1"], ["x = 1"]) == {"pass@1": 1.0}


def test_nothing_runs_without_permission(monkeypatch):
    monkeypatch.delenv(programs.PERMISSION, raising=False)
    with pytest.raises(UsageError):
        programs.pass_at_1(["assert x == 1"], ["x = 1"])
