"""Data files that never end, that unpack to more than memory holds, or whose shape is absurd."""

import gzip
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from sweeper.data import contents
from sweeper.data.examples import Example
from sweeper.data.labels import reconciled
from sweeper.data.reading import read as reading
from sweeper.data.reading.read import read
from sweeper.errors import DataError
from sweeper.spec import DataSpec


def refused(path):
    with pytest.raises(DataError) as caught:
        read(path)
    return str(caught.value)


def test_a_pipe_and_a_device_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    (tmp_path / "zero.jsonl.gz").symlink_to("/dev/zero")
    for name in ("pipe.jsonl", "zero.jsonl", "zero.jsonl.gz"):
        assert "not a regular file" in refused(tmp_path / name)


def test_a_link_to_a_file_is_read(tmp_path):
    (tmp_path / "there.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "here.jsonl").symlink_to(tmp_path / "there.jsonl")
    assert len(read(tmp_path / "here.jsonl").rows) == 1


def test_what_is_larger_than_memory_is_refused_while_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "most_bytes", lambda: 2**20)
    for name, content in (("x.jsonl.gz", gzip.compress(b"a" * 5 * 2**20)), ("x.txt", b"a" * 2**22)):
        (tmp_path / name).write_bytes(content)
        assert "larger than" in refused(tmp_path / name)


def test_parquet_that_repeats_one_long_value_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sweeper.data.reading.arrow.most_bytes", lambda: 2**26)
    path = tmp_path / "x.parquet"
    parquet.write_table(pa.table({"text": ["a" * 100_000] * 1500}), path)
    assert path.stat().st_size < 1e6
    assert "larger than" in refused(path)


def test_the_limit_follows_the_free_memory(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10 * 2**40, 10 * 2**40))
    machine = contents.most_bytes()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1))
    assert contents.most_bytes() == 0 < machine


def test_out_of_memory_while_rows_are_built_is_a_message(tmp_path, monkeypatch):
    def run_out(*_):
        raise MemoryError

    monkeypatch.setitem(reading.TEXT_READERS, ".jsonl", run_out)
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    assert "memory" in refused(tmp_path / "x.jsonl")


def test_a_small_gz_that_unpacks_to_much_is_a_message(tmp_path):
    member = gzip.compress(b'{"text": "' + b"a" * 10_000_000 + b'", "label": "x"}\n', 1)
    (tmp_path / "x.jsonl.gz").write_bytes(member * 60)  # a file may have many members
    command = [sys.executable, "-c", "from sweeper.cli.main import main; main()", "plan", "--task",
               "classification", "--model", "packaged:minilm", "--data", "x.jsonl.gz"]  # fmt: skip
    ran = subprocess.run(
        ["sh", "-c", 'ulimit -v 3000000; exec "$@"', "sh", *command],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1",
             "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: x.jsonl.gz: the content is larger than")


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_a_hundred_thousand_columns_end_in_a_message(tmp_path, name):
    cells = [f"c{number}" for number in range(100_000)]
    (tmp_path / name).write_text(
        f"{','.join(cells)}\n{','.join(cells)}x\n" if name == "x.csv" else json.dumps(
            dict.fromkeys(cells, "x"))
    )  # fmt: skip
    assert "10,000 columns" in refused(tmp_path / name)


def test_a_line_without_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MOST_LINE_BYTES", 1000)
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": "' + "a" * 2000 + '"}\n')
    assert "x.jsonl:2: this line has" in refused(tmp_path / "x.jsonl")


def test_too_many_classes_are_refused_before_they_are_split():
    rows = [Example(key=f"{n}", line=n, text=f"t {n}", label=f"c{n // 2}") for n in range(30_000)]
    with pytest.raises(DataError, match="15,000 different labels"):
        reconciled({"train": rows}, DataSpec(path="x.jsonl"))
