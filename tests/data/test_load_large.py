"""A data set whose examples stay on the disk is the one that lists of them make."""

import json
from dataclasses import replace

import pytest

from sweeper.data import table
from sweeper.data.examples import SPLITS
from sweeper.data.load import load
from sweeper.data.table import LazySequence
from sweeper.errors import DataError
from sweeper.spec import DataSpec


@pytest.fixture(autouse=True)
def _few_parts(monkeypatch):
    monkeypatch.setattr("sweeper.data.load._SORTED_FILES", 5)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def both(monkeypatch, task, **spec):
    listed = load(DataSpec(**spec), task)
    with monkeypatch.context() as patched:
        patched.setattr(table, "LARGE_BYTES", 0)
        stored = load(DataSpec(**spec), task)
    assert all(isinstance(rows, LazySequence) for rows in stored.splits.values())
    return listed, replace(stored, splits={s: tuple(stored.splits[s]) for s in SPLITS})


def answers(count):
    rows = [
        {"prompt": f"What is {n} and {n}?", "completion": f"It is {2 * n}."} for n in range(count)
    ]
    rows += rows[:7] + [{**row, "completion": "I forgot."} for row in rows[20:24]]
    return [
        *rows,
        {"prompt": "Nothing?", "completion": " "},
        {"prompt": "caf\ud83d", "completion": "Ã©"},
    ]


def classes(count):
    rows = [{"text": f"text {n}", "label": f"class {n % 3}"} for n in range(count)]
    return [
        *rows,
        *rows[:5],
        {"text": "text 1", "label": "class 0"},
        {"text": "odd", "label": "alone"},
    ]


@pytest.mark.parametrize("max_rows", [None, 40])
@pytest.mark.parametrize("task", ["instruction", "classification"])
def test_splits_fingerprint_and_counts_are_those_of_a_list(tmp_path, monkeypatch, task, max_rows):
    made = classes if task == "classification" else answers
    path = write(tmp_path / "rows.jsonl", made(300))
    listed, stored = both(monkeypatch, task, path=str(path), max_rows=max_rows)
    assert stored == listed
    assert stored.rows == (max_rows or listed.rows)


def test_official_splits_stay_and_leaks_are_counted(tmp_path, monkeypatch):
    write(tmp_path / "train.jsonl", answers(100))
    write(tmp_path / "test.jsonl", answers(30))
    listed, stored = both(monkeypatch, "instruction", path=str(tmp_path))
    assert stored == listed
    assert stored.counts["leakage"] > 20
    assert stored.origins["test"] == "official"


def test_labels_take_the_spelling_of_train_or_are_left_out(tmp_path, monkeypatch):
    write(tmp_path / "train.jsonl", classes(90))
    odd = [
        {"text": "a", "label": "Class_1"},
        {"text": "b", "label": "new"},
        {"text": "c", "label": "new"},
    ]
    write(tmp_path / "test.jsonl", [*classes(30)[:30], *odd])
    listed, stored = both(monkeypatch, "classification", path=str(tmp_path))
    assert stored == listed
    assert "spelt differently from train get its spelling (1 row)" in " ".join(stored.warnings)
    assert "'new' (test, line 32), 'new' (test, line 33)" in " ".join(stored.warnings)


def test_most_labels_unknown_to_train_are_an_error(tmp_path, monkeypatch):
    write(tmp_path / "train.jsonl", classes(90))
    write(tmp_path / "test.jsonl", [{"text": f"t {n}", "label": f"{n % 2}"} for n in range(20)])
    monkeypatch.setattr(table, "LARGE_BYTES", 0)
    with pytest.raises(DataError, check=lambda error: error.code == "unknown-labels"):
        load(DataSpec(path=str(tmp_path)), "classification")


def test_a_second_reader_maps_what_the_first_wrote_until_the_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "LARGE_BYTES", 0)
    path = write(tmp_path / "rows.jsonl", answers(100))
    first = load(DataSpec(path=str(path)), "instruction")
    with monkeypatch.context() as patched:
        patched.setattr("sweeper.data.load.read_rows", None)
        assert load(DataSpec(path=str(path)), "instruction").fingerprint == first.fingerprint
    write(path, answers(101))
    assert load(DataSpec(path=str(path)), "instruction").fingerprint != first.fingerprint


def test_a_part_of_a_split_is_read_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "LARGE_BYTES", 0)
    path = write(tmp_path / "rows.jsonl", answers(100))
    train = load(DataSpec(path=str(path)), "instruction").splits["train"]
    rows = list(train)
    assert [*train[5:9]] == rows[5:9]
    assert train[-1] == rows[-1]
    with pytest.raises(IndexError):
        train[len(rows)]


def test_what_large_files_cannot_do_is_done_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "LARGE_BYTES", 0)
    path = write(tmp_path / "rows.jsonl", answers(100))
    dataset = load(DataSpec(path=str(path), split_by="hash"), "instruction")
    assert all(isinstance(rows, tuple) for rows in dataset.splits.values())
