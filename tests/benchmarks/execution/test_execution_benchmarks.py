"""The benchmark of kills, on a study as small as can be."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.execution.kills import PHASES, RAY_VICTIMS, VICTIMS, Kill, table, wishes


@pytest.mark.parametrize(("count", "victims"), [(50, VICTIMS), (20, RAY_VICTIMS)])
def test_kills_are_spread_over_phases_and_victims(count: int, victims: tuple[str, ...]) -> None:
    wished = wishes(count, victims)
    phases, killed = (Counter(one[part] for one in wished) for part in (0, 1))
    assert set(phases.values()) == {count // len(PHASES)}
    assert max(killed.values()) - min(killed.values()) <= 2
    kills = [Kill(phase, victim, 0.0) for phase, victim in wished]
    assert table(kills, victims).splitlines()[-1].split()[-1] == str(count)
