"""Rows that stay in their file are those that a list of them holds."""

import gzip
import json

import pytest

from sweeper.data.contents import MOST_LINE_BYTES
from sweeper.data.reading import large
from sweeper.data.reading.read import read
from sweeper.data.table import Stored
from sweeper.errors import DataError

CONTENT = (
    b'\xef\xbb\xbf{"text": "caf\xc3\xa9", "label": "a"}\n\n  \n{"text": broken}\n'
    b'{"text": "one\xe2\x80\xa8line", "label": "b"}\n[1, 2]\n{"text": "lost \xff", "n": 1}\n'
    + b'{"text": "more", "label": "b"}\n' * 60
    + b'{"text": "no end of line"}'
)


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(large, "LARGE_BYTES", 0)


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson"])
def test_rows_lines_and_columns_are_those_of_a_list(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CONTENT)
    listed, stored = read(path), read(path, stored=True)
    assert isinstance(stored.rows, Stored)
    assert not isinstance(listed.rows, Stored)
    assert tuple(stored.rows) == listed.rows
    assert [stored.rows[place] for place in range(len(stored.rows))] == list(listed.rows)
    assert tuple(stored.rows[::7]) == listed.rows[::7]
    assert stored.rows[-1] == (len(CONTENT.splitlines()), {"text": "no end of line"})
    assert stored.columns == listed.columns == ("text", "label", "n")
    assert (stored.broken, stored.garbled) == (listed.broken, listed.garbled)
    assert [line for line, _ in stored.broken] == [4, 6]
    assert stored.garbled == (7,)


def test_shards_are_joined(tmp_path):
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for number, path in enumerate(paths):
        path.write_text("".join(f'{{"n": {number * 10 + one}}}\n' for one in range(9)))
    first, second = (read(path, stored=True) for path in paths)
    both = first.joined(second)
    assert isinstance(both.rows, Stored)
    assert tuple(both.rows) == (*first.rows, *second.rows)
    assert both.rows[9] == second.rows[0]
    assert list(both.sample(6)) == [{"n": int(n)} for n in ("0", "3", "6", "10", "13", "16")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b"text,label\nwords,a\n"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "packed"}\n')),
        ("x.jsonl", b'[{"text": "a list"}]'),
        ("x.jsonl", '{"text": "wide"}\n'.encode("utf-16")),
        ("x.jsonl", b'{"text": "caf\xe9"}\n' * 9),
    ],
)
def test_what_is_no_json_lines_in_utf8_is_read_as_a_whole(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    table = read(tmp_path / name, stored=True)
    assert not isinstance(table.rows, Stored)
    assert "text" in table.columns


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{broken}\n" * 3 + b'{"a": 1}\n', "x.jsonl:1: broken JSON"),
        (json.dumps(dict.fromkeys(map(str, range(10_001)))).encode(), "more than 10,000 columns"),
        (b'{"a": 1}\n{"a": "' + b"a" * 2000 + b'"}', "x.jsonl:2: this line has"),
    ],
)
def test_errors_name_file_and_line(tmp_path, monkeypatch, content, said):
    monkeypatch.setattr(large, "MOST_LINE_BYTES", 1000 if b"aaa" in content else MOST_LINE_BYTES)
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as refused:
        read(path, stored=True)
    assert said in str(refused.value)
