"""The scores of a machine: what is kept, what they teach, and what damaged files do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from ledger_scores import gap, time
from make_plan import Shape, make_plan

from sweeper import __version__
from sweeper.features.ledger import _ledger
from sweeper.features.ledger._ledger import LedgerEntry, add, entries, factors, machine_of, summary
from sweeper.features.ledger._predictions import Scored

FACTS = make_plan(Shape()).facts
HERE = machine_of(FACTS.hardware)
OTHER = FACTS.model_copy(
    update={"hardware": FACTS.hardware.model_copy(update={"name": "another processor"})}
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    return tmp_path


def entry(*scored: Scored, **changes: object) -> LedgerEntry:
    fields = {
        "sweeper_version": __version__, "device": "cpu", "task": "classification",
        "train_rows": 560, "trials": 5, "scored": scored,
    }  # fmt: skip
    return LedgerEntry(**(fields | changes))


def test_a_run_is_kept_once_and_never_overwritten(home: Path) -> None:
    add("a" * 32, FACTS, 5, [time(8.0)])
    add("a" * 32, FACTS, 5, [time(80.0)])
    ((kept,), _) = entries()
    assert [one.observed for one in kept.scored] == [8.0]
    assert [path.name for path in (home / "ledger" / HERE).iterdir()] == [f"{'a' * 32}.json"]


def test_names_of_users_are_not_kept(home: Path) -> None:
    add("a" * 32, FACTS, 5, [
        time(8.0, strategy="secret-method@/home/me/model"),
        gap(0.0, rule="secret-rule", strategy="full@private"),
        gap(0.0, rule="full-of-small-encoders"),
    ])  # fmt: skip
    text = next((home / "ledger" / HERE).iterdir()).read_text()
    assert "secret" not in text
    assert "private" not in text
    ((kept,), _) = entries()
    assert [(one.strategy, one.rule) for one in kept.scored] == [
        ("other", ""), ("full", "other"), ("full", "full-of-small-encoders"),
    ]  # fmt: skip


DAMAGED = {
    "empty": b"",
    "no-json": b"\xff\xfe{",
    "version": b'{"schema_version": 99}',
    "fields": b'{"schema_version": 1, "device": "tpu"}',
    "not-finite": entry(time(8.0)).to_json().replace("20.0", "NaN").encode(),
    "endless": entry(time(8.0)).to_json().replace("20.0", "1e999").encode(),
    "list": b"[1]",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named_and_the_others_count(home: Path, name: str) -> None:
    add("a" * 32, FACTS, 5, [time(8.0)])
    (home / "ledger" / HERE / "b.json").write_bytes(DAMAGED[name])
    kept, damaged = entries()
    assert len(kept) == 1
    (message,) = damaged
    assert str(home / "ledger" / HERE / "b.json") in message


def test_a_link_to_nowhere_and_a_file_in_place_of_the_folder_are_no_entries(home: Path) -> None:
    add("a" * 32, FACTS, 5, [time(8.0)])
    (home / "ledger" / HERE / "b.json").symlink_to(home / "nowhere.json")
    kept, damaged = entries(most=5)
    assert (len(kept), len(damaged)) == (1, 1)
    shutil.rmtree(home / "ledger")
    (home / "ledger").write_text("")
    assert entries() == ([], [])


def test_the_newest_runs_of_a_machine_are_read(home: Path) -> None:
    for number in range(6):
        facts = FACTS if number < 3 else OTHER
        add(str(number) * 32, facts, number, [])
        path = home / "ledger" / machine_of(facts.hardware) / f"{str(number) * 32}.json"
        os.utime(path, (number, number))
    assert [one.trials for one in entries(HERE, 2)[0]] == [2, 1]
    assert [one.trials for one in entries(most=2)[0]] == [5, 4]


def test_a_run_on_stated_hardware_is_not_kept() -> None:
    stated = FACTS.hardware.model_copy(update={"detected": False})
    add("a" * 32, FACTS.model_copy(update={"hardware": stated}), 5, [time(8.0)])
    assert entries() == ([], [])


@pytest.mark.parametrize(
    ("scored", "need"),
    [
        (time(10.0), 0.5),
        (time(30.0), 1.5),
        (time(2.5), 2.0),
        (time(60.0, disturbed=0.5), 1.5),
        (time(30.0, widened=2.0), 3.0),  # what the interval would need without its factor
        (time(None), None),
        (gap(1.0), 0.0),
        (gap(6.0), 2.5),
        (gap(-4.0), 2.5),
        (gap(6.0, widened=2.0), 5.0),
        (gap(6.0, error=2 / 1.645), 2.5 / 2**0.5),
    ],
)
def test_what_an_interval_needs_to_hold(scored: Scored, need: float | None) -> None:
    assert scored.need == (None if need is None else pytest.approx(need))


def test_the_factor_is_that_with_which_nine_in_ten_hold() -> None:
    # Needs of 0.25 to 5; the 18th of 19 or 20 is the quantile of the next observation.
    kept = [entry(time(5.0 * number)) for number in range(1, 21)]
    assert factors(kept) == {"trial-time": 4.75}
    assert factors(kept[:9]) == {}  # too few runs
    assert factors(kept, "0.0.0") == {}
    assert factors([entry(time(8.0))] * 20) == {}  # they hold already


def test_each_end_of_memory_has_a_factor_and_the_best_loss_has_none() -> None:
    memory = [time(share, kind="memory", unit="GiB") for share in (4.0, 30.0)]
    kept = [entry(*memory, time(40.0, kind="best-loss", unit="share"))] * 10
    assert factors(kept) == {"memory-low": 1.25, "memory-high": 1.5}


def test_several_predictions_of_a_run_are_one_run() -> None:
    assert factors([entry(*[time(40.0)] * 20)]) == {}
    assert factors([entry(*[time(40.0)] * 2)] * 10) == {"trial-time": 2.0}


def test_the_summary_counts_by_kind_and_version() -> None:
    kept = [
        entry(time(8.0), time(30.0), time(None), gap(0.0)),
        entry(time(40.0, disturbed=0.5)),
        entry(time(8.0), sweeper_version="0.0.9"),
    ]
    found = {(one.kind, one.version): one for one in summary(kept, ["b.json"]).kinds}
    assert set(found) == {
        ("trial-time", __version__), ("trial-time", "0.0.9"), ("strategy-gap", __version__),
    }  # fmt: skip
    times = found["trial-time", __version__]
    counts = (times.runs, times.predictions, times.judged, times.held)
    assert counts == (2, 4, 3, 1)
    rates = (times.hit_rate, times.clock_hit_rate, times.stated)
    assert rates == pytest.approx((1 / 3, 1 / 3, 0.9))
    assert (times.width, times.width_unit) == (4, "factor")
    gaps = found["strategy-gap", __version__]
    assert (gaps.width, gaps.width_unit, gaps.hit_rate) == (4, "points", 1)


def test_a_summary_says_how_much_wider_plans_are_now() -> None:
    memory = time(30.0, kind="memory", unit="GiB")
    kept = [entry(time(40.0), memory, memory)] * 10
    found = {one.kind: one.widened for one in summary(kept, []).kinds}
    assert found == {"trial-time": 2.0, "memory": 1.5}
    assert _ledger.MIN_RUNS == 10
