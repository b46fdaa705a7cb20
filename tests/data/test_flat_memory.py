"""Four times the rows take hardly more memory: a row on the disk costs tens of bytes."""

import json
import tracemalloc

import pytest

from sweeper.data import table
from sweeper.data.load import load
from sweeper.data.rows import read_rows
from sweeper.features.quality import _check as checking
from sweeper.features.quality._check import check
from sweeper.features.quality._kinds.base import kinds
from sweeper.spec import DataSpec

BYTES_A_ROW = 150
"""A row of these files is 700 bytes long, and takes thousands as a list of what it becomes."""


def checked(path):
    rows = read_rows(DataSpec(path=str(path)), "instruction")
    wanted = [kinds()[name] for name in ("unreadable", "empty", "conflicts", "duplicates")]
    assert check(rows, wanted).rows == {"train": int(path.stem)}


def loaded(path):
    dataset = load(DataSpec(path=str(path)), "instruction")
    assert sum(len(example.messages) for example in dataset.splits["train"]) > 200


@pytest.mark.parametrize("work", [checked, loaded])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
def test_four_times_the_rows_take_hardly_more_memory(tmp_path, monkeypatch, work, suffix):
    monkeypatch.setattr(table, "LARGE_BYTES", 0)
    monkeypatch.setattr(checking, "BLOCK_ROWS", 30)
    monkeypatch.setattr(checking, "READ_ROWS", 30)
    monkeypatch.setattr(table, "SAMPLE_ROWS", 50)
    monkeypatch.setattr("sweeper.data.load._SORTED_FILES", 16)
    peaks = {}
    for rows in (150, 150, 600):  # the first fills caches
        path = tmp_path / f"{rows}{suffix}"
        text = "".join(f"{_line(suffix, _row(n))}\n" for n in range(rows))
        if suffix == ".json":  # a list in one line
            text = f"[{text.strip().replace(chr(10), ',')}]"
        path.write_text(f"prompt,completion\n{text}" if suffix == ".csv" else text)
        tracemalloc.start()
        work(path)
        peaks[rows] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[600] - peaks[150] < 450 * BYTES_A_ROW


def _line(suffix, row):
    return json.dumps(row) if suffix != ".csv" else ",".join(f'"{one}"' for one in row.values())


def _row(number):
    return {"prompt": f"What is {number}? " * 20, "completion": f"It is {number}. " * 20}
