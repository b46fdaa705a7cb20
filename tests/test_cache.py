from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from sweeper.cache import make_once


def _make(folder: Path) -> None:
    (folder / "part").write_text("whole")


def test_it_is_made_when_first_asked_for_and_never_again(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "thing"

    assert make_once(folder, _make) == folder
    (folder / "part").write_text("kept")
    make_once(folder, _make)

    assert (folder / "part").read_text() == "kept"
    assert sorted(path.name for path in folder.parent.iterdir()) == [".thing.lock", "thing"]


def test_what_is_not_current_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "old").touch()

    make_once(folder, _make, lambda made: (made / "part").exists())

    assert [path.name for path in folder.iterdir()] == ["part"]


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "old").touch()

    def fail(empty: Path) -> None:
        _make(empty)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        make_once(folder, fail, lambda made: (made / "part").exists())

    assert [path.name for path in folder.iterdir()] == ["old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".thing.lock", "thing"]


def test_a_second_maker_waits_and_uses_what_the_first_made(tmp_path: Path) -> None:
    folder = tmp_path / "thing"
    lock = os.open(tmp_path / ".thing.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    made: list[str] = []
    waiting = threading.Thread(target=lambda: make_once(folder, lambda _: made.append("again")))

    waiting.start()
    waiting.join(timeout=0.2)
    assert waiting.is_alive()
    folder.mkdir()
    os.close(lock)
    waiting.join(timeout=300)

    assert not waiting.is_alive()
    assert made == []


def test_what_a_killed_maker_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".01234567.model").mkdir()
    (tmp_path / ".01234567.model" / "half.bin").write_text("half")
    (tmp_path / ".models-of-another").mkdir()

    make_once(tmp_path / "model", lambda folder: (folder / "whole").write_text("x") and None)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".model.lock",
        ".models-of-another",
        "model",
    ]
