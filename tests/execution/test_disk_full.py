"""A disk without room: said beforehand, stopped before, survived when it comes all the same."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from commands import Sweeper, check_whole
from curve_backend import make_plan
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from sweeper.execution import disk
from sweeper.execution.disk import (
    RESERVE_BYTES,
    DiskBudget,
    NoRoom,
    disk_budget,
    free_bytes,
    no_room,
)
from sweeper.plans import Configuration, Parameter, Plan, Stage

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
    assert "ends before the disk is full" in said
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
    more = plan.budget.model_copy(update={"extra_seeds": 2})
    with_more = disk_budget(plan.model_copy(update={"budget": more}), workers=2)
    assert with_more.confirmation == 4000 * 3 * 4
    assert budget.in_flight == 4000 * 2
    assert budget.least == 8000 + RESERVE_BYTES


EXTRA = Parameter(
    kind="categorical", choices=("no", "yes"), default="yes", off_value="no", source="a test"
)


def with_bases(plan: Plan, *bases: str) -> Plan:
    stage = Stage(
        parameter="extra",
        seconds=1,
        key="same",
        variants=1,
        bases=bases,
        base_bytes=4000,
    )
    update = {"stages": {"feature": stage}}
    candidates = [
        one.model_copy(update={**update, "parameters": {**one.parameters, "extra": EXTRA}})
        for one in plan.candidates
    ]
    return plan.model_copy(update={"candidates": tuple(candidates)})


def test_bases_that_features_make_are_counted_once_for_all_strategies() -> None:
    plan = make_plan(20, strategies="lora,full")
    assert disk_budget(plan, 1).bases == 0
    budget = disk_budget(with_bases(plan, *"abcdef"), 1)
    assert budget.bases == budget.base_copies == 4000 * 6
    assert budget.weights == disk_budget(plan, 1).weights
    few = with_bases(make_plan(4, strategies="lora,full"), *"abcdef")
    assert disk_budget(few, 1).bases == 4000 * 4
    wider = with_bases(plan, *"abcdefghijkl")
    assert disk_budget(wider, 1).bases == 4000 * 12
    assert disk_budget(wider, 1).base_copies == 4000 * (2 * 2 + 3)
    own = [
        Configuration(origin="user", strategy="lora", parameters={"extra": way})
        for way in ("no", "yes")
    ]
    asked = with_bases(plan, "a").model_copy(update={"own_trials": tuple(own)})
    assert disk_budget(asked, 1).bases == 4000 * 2


def test_what_they_need_is_said_where_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "cache"))
    budget = DiskBudget(kept=10**9, confirmation=0, in_flight=0, bases=2 * 10**9, base_copies=0)
    said = budget.sentence(tmp_path)
    assert said.startswith("weights need up to 3.03 GB of disk")
    assert "; 2 GB of it for bases that are made before trials" in said
    monkeypatch.setattr(disk, "_on_one_disk", lambda _run, _cache: False)
    said = budget.sentence(tmp_path)
    assert said.startswith("weights need up to 1.03 GB of disk")
    assert f"; bases that are made before trials need up to 2 GB in {tmp_path}/cache" in said


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


def test_files_that_vanish_while_they_are_counted_are_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1000)
    (tmp_path / "g").write_bytes(b"x" * 1000)
    real = Path.stat

    def stat(path: Path, **options: bool) -> object:
        if path.name == "g":
            path.unlink(missing_ok=True)
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setenv("SWEEPER_DISK_LIMIT_GIB", str(4000 / 1024**3))
    assert free_bytes(tmp_path) == 3000


def test_what_is_free_can_be_capped(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1000)
    monkeypatch.setenv("SWEEPER_DISK_LIMIT_GIB", str(4000 / 1024**3))
    assert free_bytes(tmp_path) == 3000
