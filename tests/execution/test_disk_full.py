"""A disk without room: said beforehand, stopped before, survived when it comes all the same."""

from __future__ import annotations

import errno

import pytest
from conftest import Sweeper, check_whole
from curve_backend import make_plan
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from sweeper.execution.disk import GIB, RESERVE_BYTES, NoRoom, disk_budget, free_bytes, no_room

FAST = {"CURVE_STEP_SECONDS": "0.002"}


def test_a_full_disk_ends_the_run_cleanly_and_room_lets_it_go_on(sweeper: Sweeper) -> None:
    full = sweeper.folder.parents[1] / "full"
    full.touch()
    code, _, errors = sweeper.ended(5, 1, CURVE_FULL=str(full), **FAST)
    assert code == 2
    assert "the disk has no room left" in errors
    assert "it resumes" in errors
    assert not sweeper.workers()
    assert sweeper.states()[:2] == [TrialState.COMPLETE, TrialState.WAITING]
    assert (sweeper.run.report_html).is_file()

    code, _, errors = sweeper.ended(5, 1, SWEEPER_DISK_LIMIT_GIB="0.05", **FAST)
    assert code == 2
    (said,) = sweeper.events("run-started")[1:]
    assert "weights need up to" in said
    assert "will stop before the disk is full" in said
    assert sweeper.states()[:2] == [TrialState.COMPLETE, TrialState.WAITING]

    full.unlink()
    sweeper.finish(5, 1, CURVE_FULL=str(full), **FAST)
    check_whole(sweeper, 5)
    table = sweeper.table()
    assert table[1]["attempts"] == "2"
    assert table[1]["ended_attempts"].startswith("1: disk-full (OSError: [Errno 28]")
    kept = {number for number in table if (sweeper.run.trial(number) / "weights").exists()}
    assert kept == {number for number in table if table[number]["weights"]}


def test_the_budget_counts_defaults_bests_finalists_their_seeds_and_what_trains() -> None:
    plan = make_plan(strategies="lora,full")  # 1000 trained parameters each, in fp32
    budget = disk_budget(plan, workers=2)
    assert budget.kept == 4000 * (2 * 2 + 3)
    assert budget.confirmation == 4000 * 3 * 2
    assert budget.in_flight == 4000 * 2
    assert budget.least == 8000 + RESERVE_BYTES


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (OSError(errno.EFBIG, "File too large"), True),
        (OSError(errno.EIO, "Input/output error"), False),
        (NoRoom("x"), True),
        (StorageInternalError("database or disk is full"), True),
        (caused(StorageInternalError("x"), OSError(errno.ENOSPC, "y")), True),
        (ValueError("x"), False),
        (None, False),
    ],
)
def test_it_knows_a_full_disk_from_other_errors(error: Exception | None, expected: bool) -> None:
    assert no_room(error) is expected


def test_what_is_free_can_be_capped(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1000)
    monkeypatch.setenv("SWEEPER_DISK_LIMIT_GIB", str(4000 / GIB))
    assert free_bytes(tmp_path) == 3000
