"""Data files that never end, that unpack to more than memory holds, or whose shape is absurd."""

import gzip
import io
import json
import os
import resource
import subprocess
import sys
import time
import unicodedata
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from sweeper.data import contents
from sweeper.data.examples import Example, normalised
from sweeper.data.labels import reconcile_labels
from sweeper.data.load import load
from sweeper.data.reading import read as reading
from sweeper.data.reading.read import read
from sweeper.data.rows import read_rows
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", json.dumps({"n": "a" * 2**20}).encode()),
        ("x.parquet.gz", gzip.compress(b"a" * 2**20)),
    ],
)
def test_what_takes_more_than_the_free_memory_is_refused(tmp_path, monkeypatch, name, content):
    monkeypatch.setattr(contents, "free_bytes", lambda: 2**22)
    (tmp_path / name).write_bytes(content)
    assert "do not fit into memory" in refused(tmp_path / name)


def test_rows_that_are_collected_leave_memory_to_others(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "free_bytes", lambda: 2**22)
    monkeypatch.setattr(contents, "_CHECK_EVERY_ROWS", 1000)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"text": "row {n} of many"}}\n' for n in range(1000)))
    data = read_rows(DataSpec(path=str(path)), "domain")
    for collect in (lambda: data.usable, lambda: load(DataSpec(path=str(path)), "domain")):
        with pytest.raises(DataError):
            collect()


def test_the_limit_follows_the_free_memory(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10 * 2**40, 10 * 2**40))
    machine = contents.free_bytes()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1, 1))
    assert contents.free_bytes() == 0 < machine


def test_out_of_memory_while_rows_are_built_is_a_message(tmp_path, monkeypatch):
    def run_out(*_):
        raise MemoryError

    monkeypatch.setitem(reading.TEXT_READERS, ".jsonl", run_out)
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n')
    assert "memory" in refused(tmp_path / "x.jsonl")


def zipped(sheet):
    """A workbook with this XML as its only sheet."""
    parts = {
        "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/'
        'content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        "xl/workbook.xml": '<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/'
        'main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">'
        '<sheets><sheet name="S" sheetId="1" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/'
        'package/2006/relationships"><Relationship Id="r1" Type="http://schemas.openxmlformats.org'
        '/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/>'
        "</Relationships>",
        "xl/worksheets/sheet1.xml": '<worksheet xmlns="http://schemas.openxmlformats.org/'
        f'spreadsheetml/2006/main"><sheetData>{sheet}</sheetData></worksheet>',
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in parts.items():
            book.writestr(name, text)
    return file.getvalue()


def sheet_with(*places):
    return zipped(
        "".join(
            f'<row r="{place.lstrip("ABCDEFX")}"><c r="{place}"><v>1</v></c></row>'
            for place in places
        )
    )


def stream_of(table, **options):
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as to:
        to.write_table(table)
    return file.getvalue()


def parquet_of(table):
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


def many(text, times):
    """So many repetitions of a text, packed without holding them."""
    block = gzip.compress(text * 10_000)
    return block * (times // 10_000)


READ = """
import resource, sys
from pathlib import Path
from sweeper.data.reading.read import read
from sweeper.errors import DataError

try:
    table = read(Path(sys.argv[1]))
except DataError as error:
    print("refused", error.problems[0].where)
else:
    print(len(table.rows), "rows")
"""
MEMORY_KIB = 400_000
"""Of which Python with its packages takes a part."""

LONG = pa.table({"text": ["a" * 1_000_000] * 500})
WORST = {
    "lines.txt": (b"a\n" * 600_000, "600000 rows"),
    "lines.txt.gz": (many(b"a\n", 600_000), "600000 rows"),
    "paragraph.txt.gz": (many(b"ab\n", 1_000_000) + gzip.compress(b"\n\nb"), "2 rows"),
    "long.jsonl.gz": (many(b"a" * 1000, 100_000), "refused"),
    "broken.jsonl": (b"x\n" * 600_000, "refused"),
    "rows.jsonl.gz": (many(b'{"a":1}\n', 600_000), "600000 rows"),
    "deep.jsonl": (b'{"a":' + b"[" * 1_000_000, "refused"),
    "lists.json": (b"[" + b"[]," * 300_000 + b"[]]", "refused"),
    "text.json.gz": (gzip.compress(b'{"a": "') + many(b"a" * 1000, 100_000), "refused"),
    "values.json": (b'{"a": [' + b"[]," * 100_000 + b"[]]}", "100001 rows"),
    "quotes.csv": (b"text,label\n" + b'"a\n' * 100_000, "refused"),
    "open.csv": (b'text,label\n"a' + b"\n" * 3_000_000, "refused"),
    "cells.csv": (b"," * 9_000 + (b"\na" + b"," * 9_000) * 600, "600 rows"),
    "far.xlsx": (sheet_with("A1", "A99999999999"), "refused"),
    "wide.xlsx": (sheet_with("A1", "XFD1048576"), "refused"),
    "zeros.xlsx": (zipped(" " * 100_000_000), "refused"),
    "long.parquet": (parquet_of(LONG), "refused"),
    "long.arrow": (stream_of(LONG, compression="zstd"), "refused"),
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_file_of_each_reader_is_read_or_refused_in_little_memory(tmp_path, name):
    content, outcome = WORST[name]
    (tmp_path / name).write_bytes(content)
    ran = subprocess.run(
        ["sh", "-c", f'ulimit -v {MEMORY_KIB}; exec "$@"', "sh", sys.executable, "-c", READ, name],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.stderr == ""
    assert ran.stdout.startswith(outcome)


def test_combining_marks_do_not_hold_up_keys():
    text = "a" + "\u0327\u0301" * 500_000
    begun = time.process_time()
    assert normalised(text).startswith("\u00e1\u0327")
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("text", ["\u304b\u3099", "\uff76\uff9e", "\u1112\u1161\u11ab", "e\u0301"])
@pytest.mark.parametrize("ahead", range(3))
def test_long_texts_are_normalised_as_a_whole(text, ahead):
    whole = "\u4e2d" * ahead + text * 1000
    assert normalised(whole) == unicodedata.normalize("NFKC", whole)


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_a_hundred_thousand_columns_end_in_a_message(tmp_path, name):
    cells = [f"c{number}" for number in range(100_000)]
    (tmp_path / name).write_text(
        f"{','.join(cells)}\n{','.join(cells)}x\n" if name == "x.csv" else json.dumps(
            dict.fromkeys(cells, "x"))
    )  # fmt: skip
    assert "10,000 columns" in refused(tmp_path / name)


def test_a_line_without_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MAX_LINE_BYTES", 1000)
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": "' + "a" * 2000 + '"}\n')
    assert "x.jsonl:2: this line has" in refused(tmp_path / "x.jsonl")


def test_too_many_classes_are_refused_before_they_are_split():
    rows = [Example(key=f"{n}", line=n, text=f"t {n}", label=f"c{n // 2}") for n in range(30_000)]
    with pytest.raises(DataError, check=lambda error: error.code == "too-many-classes"):
        reconcile_labels({"train": rows}, DataSpec(path="x.jsonl"))
