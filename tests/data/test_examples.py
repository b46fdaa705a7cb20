"""Faults of a data set are fields: their kind, rows, share of the test items, and first line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sweeper.data.examples import DataFault
from sweeper.facts.gather import gather
from sweeper.features import parts
from sweeper.specfile import resolve


def rows(count: int, start: int = 0, **more: Any) -> list[dict[str, Any]]:
    return [
        {"text": f"where is my card {n}", "label": "ab"[n % 2], **more}
        for n in range(start, start + count)
    ]


def written(path: Path, lines: list[Any]) -> Path:
    path.write_text(
        "".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in lines)
    )
    return path


def all_faults(path: Path) -> tuple[DataFault, ...]:
    asked: dict[Any, Any] = {
        ("task",): "classification",
        ("models", 0, "id"): "packaged:minilm",
        ("data", "path"): str(path),
    }
    return gather(resolve(asked)).data.faults


def faults(path: Path) -> dict[str, DataFault]:
    return {fault.kind: fault for fault in all_faults(path)}


def test_clean_rows_have_no_faults(tmp_path: Path) -> None:
    assert faults(written(tmp_path / "rows.jsonl", rows(60))) == {}


def test_rows_that_are_left_out_are_faults(tmp_path: Path) -> None:
    lines = [*rows(60), '{"text": "x\n', {"text": " ", "label": "a"}, {"text": "x", "label": [1]}]
    lines.append({"text": "the only one", "label": "once"})
    path = written(tmp_path / "rows.jsonl", lines)
    found = faults(path)
    wanted = {"unreadable": f"{path}:61", "empty": f"{path}:62", "form": f"{path}:63"}
    assert {kind: found[kind].where for kind in wanted} == wanted
    assert {found[kind].rows for kind in (*wanted, "rare-labels")} == {1}
    # The test split is taken out of the rows that they are missing from.
    assert found["empty"].share == pytest.approx(1 / 61)
    assert all(fault.action for fault in found.values())


def test_what_only_train_has_does_not_concern_the_test_items(tmp_path: Path) -> None:
    written(tmp_path / "train.jsonl", [*rows(60), "{broken\n"])
    written(tmp_path / "test.jsonl", [*rows(18, start=60), "{broken\n", *rows(2)])
    found = all_faults(tmp_path)
    shares = sorted(fault.share for fault in found if fault.kind == "unreadable")
    assert shares == [0, pytest.approx(1 / 21)]
    (leaked,) = [fault for fault in found if fault.kind == "leakage"]
    # Of the two rows, validation took one out of train.
    assert (leaked.rows, leaked.share) == (1, pytest.approx(1 / 20))


def test_conflicts_and_duplicates_count_their_test_items(tmp_path: Path) -> None:
    written(tmp_path / "train.jsonl", [*rows(60), *rows(3)])
    other = [{**row, "label": "b"} for row in rows(10, start=60) if row["label"] == "a"]
    written(tmp_path / "test.jsonl", [*rows(10, start=60), *other, *rows(5, start=70)])
    found = faults(tmp_path)
    assert (found["conflicts"].rows, found["conflicts"].share) == (10, pytest.approx(10 / 20))
    assert (found["duplicates"].rows, found["duplicates"].share) == (3, 0)


def test_labels_that_are_spelt_in_several_ways_are_a_fault(tmp_path: Path) -> None:
    lines = [
        {**row, "label": {"a": "card arrival", "b": "lost card"}[row["label"]]} for row in rows(60)
    ]
    for row in lines[:6:2]:
        row["label"] = "Card_Arrival"
    found = faults(written(tmp_path / "rows.jsonl", lines))
    assert (found["label-variants"].rows, found["label-variants"].share) == (
        3,
        pytest.approx(3 / 60),
    )
    assert "--remedy label-variants" in found["label-variants"].action


def test_a_command_is_named_only_where_a_feature_has_one(tmp_path: Path, monkeypatch: Any) -> None:
    path = written(tmp_path / "rows.jsonl", [*rows(60), *rows(3), {"text": "x", "label": "once"}])
    hook: parts.Hook[Any] = parts.Hook("remedies", "missing")
    monkeypatch.setattr(parts, "MEND_FAULTS", hook)
    found = faults(path)
    assert found["duplicates"].action == "Correct these rows in the file."
    assert found["rare-labels"].action == "Add rows, or merge labels."


def test_faults_of_a_large_file_are_kept_with_it(tmp_path: Path, monkeypatch: Any) -> None:
    path = written(tmp_path / "rows.jsonl", [*rows(60), "{broken\n", *rows(3)])
    small = faults(path)
    monkeypatch.setattr("sweeper.data.table.LARGE_BYTES", 0)
    assert [faults(path), faults(path)] == [small, small]
