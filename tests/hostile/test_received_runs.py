"""Runs from others: no link is followed and no pipe is read, whatever the file is called."""

import os
import shutil
import sys

import make_run as maker
import pytest

from sweeper.cli.main import main
from sweeper.errors import RunError
from sweeper.runfolder import RunFolder, check_regular

COMMANDS = [("show", "x"), ("report", "x"), ("explain", "x"), ("export", "x", "--to", "model")]


@pytest.fixture(scope="module")
def received(tmp_path_factory):
    """A run folder, in a folder of runs."""
    root = tmp_path_factory.mktemp("received") / "runs"
    return maker.make_run(root, maker.Shape(name="x"), trials=1, prune=False, seeds=1, finalists=1)


@pytest.fixture
def run(received, tmp_path):
    """A copy of it, beside a private file."""
    (tmp_path / "private.json").write_text('{"token": "hf_planted_secret"}')
    return RunFolder(shutil.copytree(received.path, tmp_path / "runs" / "x"))


@pytest.mark.parametrize("plant", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
@pytest.mark.parametrize(
    "name", ["events.jsonl", "trials/0/result.json", "trials/0/weights/model.safetensors", "notes"]
)
def test_no_link_or_pipe_of_a_run_is_read(run, plant, name):
    path = run.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    plant(path)
    with pytest.raises(RunError) as caught:
        RunFolder.find(run.path)
    (problem,) = caught.value.problems
    assert name in problem.what
    assert problem.where == str(run.path)


@pytest.mark.parametrize("command", [*COMMANDS, ("list",), ("run", "runs/x/sweep.yaml")])
def test_every_command_refuses_a_link(run, command, monkeypatch, capsys):
    run.spec.write_text("name: x\ntask: classification\nmodel: packaged:minilm\ndata: x.jsonl\n")
    (run.path / "trials" / "link").symlink_to(run.path.parents[1] / "private.json")
    monkeypatch.chdir(run.path.parents[1])
    monkeypatch.setattr(sys, "argv", ["sweeper", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code or 0) == (0 if command == ("list",) else 2)
    assert "trials/link" in said.err
    assert "planted" not in said.out + said.err


def test_links_of_services_that_listen_are_left_alone(run):
    place = run.path / "listeners" / "tracking"
    place.mkdir(parents=True)
    (place / "latest-run").symlink_to(place)
    check_regular(run.path)
