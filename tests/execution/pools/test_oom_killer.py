"""Kills for want of memory, told from other kills by the kernel's counters."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.execution.pools.local_pool import (
    OOM_KILL_MATCH_SECONDS,
    OomKills,
    oom_counter,
    oom_kills_in,
)

V1 = "5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/user/run\n", {"user/run/memory.events": "low 0\noom_kill 3\n"}, 3),
        # A container sees the host's path, and its own group where groups are mounted.
        ("0::/docker/12ab\n", {"memory.events": "oom 9\noom_kill 2\noom_group_kill 0\n"}, 2),
        (V1, {"memory/a/b/memory.oom_control": "oom_kill_disable 0\noom_kill 4\n"}, 4),
        (V1, {"memory/memory.oom_control": "under_oom 0\noom_kill 5\n"}, 5),
        # Kernels before 4.13 do not count there.
        (V1, {"memory/a/b/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}, None),
        ("", {}, None),
    ],
)
def test_the_counter_of_the_own_control_group_is_found(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = oom_counter(groups, tmp_path)
    own = found if found is not None and found.is_relative_to(tmp_path) else None
    assert (None if own is None else oom_kills_in(own)) == expected


def count(place: Path, kills: int) -> None:
    place.write_text(f"oom {kills + 7}\noom_kill {kills}\n")


def test_a_kill_is_the_systems_if_the_counter_has_risen_by_one_for_it(tmp_path: Path) -> None:
    place, now = tmp_path / "memory.events", 0.0
    count(place, 3)
    kills = OomKills(place, clock=lambda: now)
    assert not kills.match_kill()
    count(place, 5)
    assert [kills.match_kill() for _ in range(3)] == [True, True, False]
    # What was counted long ago was some other process of the group.
    count(place, 6)
    kills.update()
    now += OOM_KILL_MATCH_SECONDS + 1
    assert not kills.match_kill()


@pytest.mark.parametrize("text", [None, "", "oom_kill many\n"])
def test_a_counter_that_cannot_be_read_says_nothing(tmp_path: Path, text: str | None) -> None:
    place = tmp_path / "memory.events"
    if text is not None:
        place.write_text(text)
    assert not OomKills(place).match_kill()
    assert not OomKills(None).match_kill()
