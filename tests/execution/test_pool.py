from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.execution.events import Event
from sweeper.execution.ledger import Ledger
from sweeper.execution.pool import Ended, Pool
from sweeper.execution.progress import Progress
from sweeper.runfolder import RunFolder


def pool(tmp_path: Path, size: int) -> Pool:
    return Pool(RunFolder(tmp_path), "sqlite:///x", "m:f", size)


def test_each_worker_gets_what_it_was_placed_with_but_the_users_threads_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    placed = [
        {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": gpu}
        for gpu in ("4", "5")
    ]
    environment = Pool(RunFolder(tmp_path), "sqlite:///x", "m:f", 2, placed)._environment("1")
    assert environment["CUDA_VISIBLE_DEVICES"] == "5"
    assert environment["OMP_NUM_THREADS"] == "3"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_the_storages_url_is_not_among_the_arguments_that_anybody_can_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def refuse(command: list[str], **_options: object) -> None:
        seen.append(command)
        raise OSError

    monkeypatch.setattr("subprocess.Popen", refuse)
    with pytest.raises(OSError):  # noqa: PT011 - raised above
        pool(tmp_path, 1).start()
    assert "sqlite:///x" not in " ".join(seen[0])


def test_an_end_says_how_the_worker_died() -> None:
    assert str(Ended("0", "o", -9, False)) == "worker 0 was killed by SIGKILL"
    assert str(Ended("1", "o", 70, False)) == "worker 1 ended with status 70"


def event(kind: str, **fields: object) -> Event:
    return Event.model_validate({"kind": kind, "at": "t", "worker": "0", **fields})


def test_status_shows_what_a_worker_is_busy_with_until_it_ends(tmp_path: Path) -> None:
    progress = Progress(Ledger(RunFolder(tmp_path)), total=4, started_at="t")
    progress.hear(event("trial-started", trial=2, attempt=1, strategy="lora", rungs=8))
    progress.hear(event("rung", trial=2, rung=3, validation_loss=0.5, optimizer_steps=30))
    (running,) = progress.status().running
    assert (running.trial, running.rung, running.validation_loss) == (2, 3, 0.5)
    progress.hear(event("worker-ended"))
    assert progress.status().running == ()
    assert progress.status().eta is None
