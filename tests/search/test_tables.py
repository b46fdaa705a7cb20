"""The recorded tasks are read by the types that plans have now."""

from __future__ import annotations

import pytest

from benchmarks.search.table import TABLES, read

NAMES = sorted(path.stem for path in TABLES.glob("*.npz"))


def test_there_are_recorded_tasks() -> None:
    assert len(NAMES) >= 7


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_task_is_read(name: str) -> None:
    table = read(name)
    assert {one.strategy for one in table.trials} <= set(table.plan.keyed)
    assert len(table.trials) > 20
