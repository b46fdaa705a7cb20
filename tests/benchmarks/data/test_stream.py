"""The made rows hold the faults that both sides of the benchmark count."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data.stream import made, ours


def test_the_same_rows_are_made_again_and_their_faults_are_found(tmp_path: Path) -> None:
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    rows = made(first, 0.0005)
    assert made(second, 0.0005) == rows == 2000
    assert first.read_bytes() == second.read_bytes()
    found = dict(one.rsplit(" ", 1) for one in ours("check", first, "").split(", "))
    assert found.keys() == {"conflicts", "duplicates", "empty"}
    assert all(int(count) >= 5 for count in found.values())
    parts = dict(one.rsplit(" ", 1) for one in ours("split", first, "").split(", "))
    assert sum(map(int, parts.values())) == rows - int(found["empty"])
