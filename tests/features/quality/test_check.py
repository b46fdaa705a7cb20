"""Checking rows block by block, from their file, finds what checking all of them at once finds."""

import random
from dataclasses import replace

import pytest

from sweeper.data.table import LazySequence
from sweeper.features.quality import _check
from sweeper.features.quality._check import check
from sweeper.features.quality._kinds.base import kinds
from sweeper.features.quality._view import show_check
from tests.features.quality.planting import CASES, PLANTS, made


def stored(data):
    return replace(data, rows=LazySequence(len(data.rows), data.rows.__getitem__))


def read(planted, folder):
    (folder / "rows").mkdir()
    return planted.read(folder / "rows")


@pytest.mark.parametrize(("name", "classes"), CASES)
def test_the_findings_are_those_of_a_list(tmp_path, monkeypatch, name, classes):
    planted = made(classes, rows=200)
    PLANTS[name][0](planted, random.Random(1))
    data = read(planted, tmp_path)
    if kinds()[name].why_unchecked(data):
        pytest.skip("an optional package is missing")
    (listed,) = check(data, [kinds()[name]]).findings
    monkeypatch.setattr(_check, "BLOCK_ROWS", 64)
    monkeypatch.setattr(_check, "READ_ROWS", 64)
    (streamed,) = check(stored(data), [kinds()[name]]).findings
    assert replace(streamed, examples=()) == replace(listed, examples=())
    assert len(streamed.examples) == len(listed.examples)
    assert all(example.path and example.line for example in streamed.examples)


def test_many_answers_to_most_inputs_are_meant_in_a_large_set_too(tmp_path):
    planted = made(False, rows=40)
    planted.rows["train"] += [
        {**row, "completion": "Another one."} for row in planted.rows["train"]
    ]
    data = read(planted, tmp_path)
    assert check(stored(data), [kinds()["conflicts"]]).findings == ()


def test_a_finding_of_a_sample_says_so(tmp_path, monkeypatch, capsys):
    planted = made(False)
    PLANTS["lengths"][0](planted, random.Random(1))
    monkeypatch.setattr(_check, "SAMPLE_ROWS", 300)
    checked = check(stored(read(planted, tmp_path)), [kinds()["lengths"]])
    (finding,) = checked.findings
    assert finding.sample_rows == 300
    assert finding.share == pytest.approx(finding.count / 300)
    show_check(checked)
    assert "of a sample of 300 (" in capsys.readouterr().out
