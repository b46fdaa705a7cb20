"""The sweeps of the benchmark of predictions."""

from __future__ import annotations

import pytest

from benchmarks.ledger.__main__ import Kind, replay, sweeps, table
from sweeper import __version__
from sweeper.features.ledger._ledger import LedgerEntry
from sweeper.features.ledger._predictions import Scored


def test_sweeps_differ_and_are_the_same_every_time() -> None:
    first = list(sweeps(["a", "b"], 36))
    assert len(set(first)) == len({one.name for one in first}) == 36
    assert first == list(sweeps(["a", "b"], 36))
    assert {one.data for one in first} == {"a", "b"}


def entry(*scored: Scored) -> LedgerEntry:
    return LedgerEntry(
        sweeper_version=__version__, device="cpu", task="classification", train_rows=60, trials=2,
        scored=scored,
    )  # fmt: skip


def score(kind: str, observed: float, **fields: object) -> Scored:
    return Scored(**{
        "kind": kind, "unit": "s", "value": 10.0, "low": 5.0, "high": 20.0, "observed": observed,
        "held": 5 <= observed <= 20, **fields,
    })  # fmt: skip


def test_each_sweep_is_judged_with_what_the_sweeps_before_it_teach() -> None:
    event = score(
        "best-strategy", 0.0, unit="probability", value=0.9, stated=0.9, low=None, high=None,
        held=False,
    )  # fmt: skip
    memory = score("memory", 2.5, unit="GiB")
    sweeps = [entry(score("trial-time", 40.0), memory, memory, event) for _ in range(11)]
    kinds = replay([*sweeps, entry(score("trial-time", 50.0))])
    times = kinds["trial-time"]
    assert times.shipped == [False] * 12
    assert times.learnt == [True, False]
    assert (times.shipped_widths[0], times.learnt_widths[0]) == (4, 16)
    assert kinds["memory"].learnt == [True, True]
    assert kinds["memory"].learnt_widths == [8, 8]  # only the lower end moves
    events = kinds["best-strategy"]
    assert (events.stated[0], events.learnt_stated) == (0.9, [pytest.approx(0.54)])


def test_the_table_has_what_held_by_kind() -> None:
    kind = Kind(stated=[0.9] * 4, shipped=[True, True, True, False], shipped_widths=[1.5] * 4)
    lines = table({"memory": kind, "money": Kind()}).splitlines()
    assert lines[-2].strip("| ").split(" | ") == [
        "`memory`", "4", "90%", "75%", "1.5", "–", "–", "–",
    ]  # fmt: skip
    assert lines[-1].split(" | ")[1:4] == ["0", "–", "–"]
