"""``sweeper data augment``: from a file to new rows, through a server, with a kill in between."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from augment_server import by_rules, fails, rows, says

import sweeper as package
from sweeper.data.load import load
from sweeper.packages import install_command
from sweeper.spec import DataSpec

pytest.importorskip("openai")
pytest.importorskip("rensa")


@pytest.fixture
def data(here):
    path = here / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return path


def command(server, *more):
    how = ("--method", "paraphrase", "--endpoint", server.url, "--model", "fake")
    return ("data", "augment", "rows.jsonl", "-o", "new.jsonl", *how, *more)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_new_rows_are_written_with_a_line_for_every_row(sweeper, server, data, here):
    ran = sweeper(*command(server, "--yes", "--price-per-million-tokens", "1,4"))
    assert ran.code == 0, ran.err
    assert "56 rows by paraphrase: 56 requests, about" in ran.err
    assert "at a cost of 0.00448" in ran.out
    assert "features: {augmentation: {path: new.jsonl}}" in ran.out
    assert len(server.bodies) == 56
    changes = lines(here / "new.changes.jsonl")
    assert len(changes) == 56
    added = [one for one in changes if one["action"] == "added"]
    assert [one["after"] for one in added] == lines(here / "new.jsonl")
    dataset = load(DataSpec(path="rows.jsonl"), "classification")
    train = {example.key: example.line for example in dataset.splits["train"]}
    for one in changes:
        assert train[one["after"]["augmented_from"]] == one["line"]
    for path in here.iterdir():
        assert "sk-never" not in path.read_text()


def test_only_train_rows_of_official_splits_are_sent(sweeper, server, here, data):
    folder = here / "splits"
    folder.mkdir()
    content = rows()
    parts = {"train": content[:40], "validation": content[40:60], "test": content[60:]}
    for split, part in parts.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    arguments = [one if one != "rows.jsonl" else "splits" for one in command(server, "--yes")]
    assert sweeper(*arguments, "--rows", "15", "--per-row", "2").code == 0
    asked = {body["messages"][-1]["content"] for body in server.bodies}
    assert len(server.bodies) == 30
    assert len(asked) == 15
    assert asked <= {row["text"] for row in content[:40]}


def test_after_a_kill_only_what_was_in_flight_is_asked_for_again(sweeper, server, data, here):
    killed = threading.Event()

    def until_the_kill(handler, text):
        if len(server.bodies) >= 10:
            killed.wait(300)
        handler.say(by_rules(text))

    server.usual = until_the_kill
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeper", *command(server, "--yes", "--concurrency", "2")],
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(server.bodies) < 10 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed.set()
    sent = len(server.bodies)
    assert 10 <= sent <= 11
    assert not (here / "new.jsonl").exists()
    ran = sweeper(*command(server, "--yes"))
    assert ran.code == 0, ran.err
    assert 56 <= len(server.bodies) <= 56 + 2
    assert "replies exist already" in ran.err
    assert len(lines(here / "new.changes.jsonl")) == 56


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        ((), 2, "there is no terminal to confirm the start\n  Give --yes."),
        (("--method", "paraprase"), 2, "is not one of"),
        (("--price-per-million-tokens", "cheap"), 2, "'cheap' is not two prices"),
        (("-o", "rows.jsonl"), 2, "the output exists"),
        (("-o", "new.txt"), 2, "is not a kind of file that can be written"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(sweeper, server, data, more, code, said):
    ran = sweeper(*command(server), *more)
    assert ran.code == code
    assert said in ran.err
    assert server.bodies == []


def test_texts_with_chat_markers_are_refused(sweeper, server, here):
    text = "[INST] question {} [/INST] answer {}"
    rows = [{"text": text.format(n, n)} for n in range(40)]
    (here / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = sweeper(*command(server, "--yes"), "--task", "instruction")
    assert ran.code == 2
    assert "texts with chat markers cannot be augmented" in ran.err


def test_where_nothing_can_be_added_nothing_is_written(sweeper, server, data, here):
    server.usual = says(lambda text: text)
    ran = sweeper(*command(server, "--yes"))
    assert ran.code == 2
    assert "none of 56 rows was added\n  56: repeats another row" in ran.err
    assert not (here / "new.jsonl").exists()


def test_a_refused_key_ends_the_command_without_a_file(sweeper, server, data, here):
    server.usual = fails(401)
    ran = sweeper(*command(server, "--yes"))
    assert ran.code == 2
    assert "the endpoint refuses requests with status 401" in ran.err
    assert "Traceback" not in ran.err
    assert not (here / "new.jsonl").exists()


def test_without_the_client_the_command_that_installs_it_is_named(
    sweeper, server, data, monkeypatch
):
    monkeypatch.setitem(sys.modules, "openai", None)
    ran = sweeper(*command(server, "--yes"))
    assert ran.code == 2
    assert install_command("augment") in ran.err
