"""``sweeper predict`` refuses bad input before a model is loaded, and writes nothing then."""

import json
from pathlib import Path

import pytest

from sweeper.features.prediction import _steps as steps


@pytest.fixture
def weights(here):
    folder = here / "weights"
    folder.mkdir()
    (folder / "sweeper.json").write_text("{}")
    return folder


def test_bad_input_is_refused_and_nothing_is_written(sweeper, here, weights):
    (here / "kept.jsonl").write_text("mine")
    (here / "empty").mkdir()
    before = {path.name for path in here.iterdir()}
    for arguments, told in (
        (("weights",), "either one text or --data"),
        (("weights", "kept.jsonl"), "give --data kept.jsonl"),
        (("weights", "a", "-o", "kept.jsonl"), "the output exists"),
        (("weights", "a", "-o", "no/out.jsonl"), "no such folder"),
        (("weights", "a", "--trial", "1"), "--trial needs a run"),
        (("empty", "a"), "holds no trained model"),
        (("nothing", "a"), "there is no run 'nothing'"),
    ):
        ran = sweeper("predict", *arguments)
        assert (ran.code, told in ran.err) == (2, True), ran.err
        assert "Traceback" not in ran.err
    assert (here / "kept.jsonl").read_text() == "mine"
    assert {path.name for path in here.iterdir()} - {"runs"} == before


def test_a_run_names_its_trial_by_number_or_says_that_it_kept_no_weights(sweeper, make_run):
    run = make_run()
    Path(run.path.name).mkdir()  # such as the data set that the run is called after
    ran = sweeper("predict", run.path.name, "a", "--trial", "0")
    assert ran.code == 2
    assert "trial 0 has no weights" in ran.err


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"text": "a"}\n', "stdin.jsonl"),
        (b'[{"text": "a"}]', "stdin.json"),
        (b"text,label\na,b\n", "stdin.csv"),
        (b"text\tlabel\na\tb\n", "stdin.tsv"),
        (b"PAR1...", "stdin.parquet"),
        (b"A plain text, with a comma.\n", "stdin.txt"),
    ],
)
def test_standard_input_is_read_as_what_it_is(data, name, tmp_path, monkeypatch):
    class Pipe:
        class buffer:  # noqa: N801 - as sys.stdin has it
            @staticmethod
            def read():
                return data

    monkeypatch.setattr("sys.stdin", Pipe)
    assert steps.saved_stdin(tmp_path).name == name


def test_a_finished_part_is_put_in_the_order_of_the_rows(tmp_path):
    part = tmp_path / "part"
    rows = [{"of": "x"}, {"row": 10, "text": "b"}, {"row": 2, "text": "a"}]
    part.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [json.loads(line)["row"] for line in steps.in_row_order(part)] == [2, 10]
