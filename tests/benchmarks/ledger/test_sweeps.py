"""The sweeps of the benchmark of predictions."""

from __future__ import annotations

from benchmarks.ledger.__main__ import sweeps, table


def test_sweeps_differ_and_are_the_same_every_time() -> None:
    first = list(sweeps(["a", "b"], 36))
    assert len(set(first)) == len({one.name for one in first}) == 36
    assert first == list(sweeps(["a", "b"], 36))
    assert {one.data for one in first} == {"a", "b"}


def test_the_table_has_what_held_by_kind() -> None:
    kind = {"kind": "memory", "judged": 4, "hit_rate": 0.75, "clock_hit_rate": 0.5, "stated": 0.9,
            "width": 1.5, "width_unit": "factor"}  # fmt: skip
    none = {**kind, "kind": "money", "judged": 0, "hit_rate": None, "width": None}
    lines = table({"runs": 2, "kinds": [kind, none]}).splitlines()
    assert lines[0] == "2 sweeps"
    assert lines[-2].split(" | ")[1:5] == ["4", "75%", "50%", "90%"]
    assert lines[-1].split(" | ")[2] == "–"
