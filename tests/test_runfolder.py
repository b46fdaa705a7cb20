"""The run folder's name and lock."""

import fcntl
import multiprocessing
import os
import socket

import pytest

from sweeper.errors import RunError
from sweeper.runfolder import RunFolder


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a b"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(RunError, check=lambda error: error.code == "run-name"):
        RunFolder.named(name)


def _hold(path, ready, done):
    with RunFolder(path).lock():
        ready.set()
        done.wait(300)


def test_a_second_command_is_refused_and_told_who_holds_the_run(tmp_path):
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready, done))
    holder.start()
    try:
        assert ready.wait(300)
        with pytest.raises(RunError, match=f"process {holder.pid}"), RunFolder(tmp_path).lock():
            pass
    finally:
        done.set()
        holder.join()
    with RunFolder(tmp_path).lock():
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()} on {socket.gethostname()}"


def test_a_folder_that_cannot_be_made_is_an_error_of_usage(tmp_path):
    (tmp_path / "file").write_text("")
    run = RunFolder(tmp_path / "file" / "run")
    with pytest.raises(RunError) as caught, run.lock():
        pass
    assert caught.value.problems[0].where == str(run.path)


def test_whether_a_command_holds_it_can_be_seen_and_looking_refuses_nobody(tmp_path, monkeypatch):
    run = RunFolder(tmp_path / "run")
    assert not run.held  # there is no such folder
    with run.lock():
        assert run.held
    assert not run.held
    looking = os.open(run.path / ".lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr("sweeper.runfolder.time.sleep", lambda _: os.close(looking))
    with run.lock():
        assert run.held
