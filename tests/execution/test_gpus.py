"""The real command on a machine with two GPUs, of which only the driver's list is made up."""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from commands import Sweeper, check_whole, ended_after

from sweeper.facts.machine.hardware import processor

TRIALS = 6
A, B = "GPU-a0", "GPU-b1"
DRIVER = """#!/bin/sh
echo "Test GPU, GPU-a0, 24576, 24000, 8.0, [N/A]"
echo "Test GPU, GPU-b1, 24576, 24000, 8.0, [N/A]"
"""


class OnGpus(Sweeper):
    """Starts the command for two GPUs of a stated memory."""

    strategies = "full,head"
    memory_gib: float | None = 0.0

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        if self.memory_gib is None:  # two for one trial
            stated = ["--gpus", "2", "--gpu-memory", "3", "--gpus-per-trial", "2"]
        else:
            stated = ["--gpus", "2", "--gpu-memory", str(self.memory_gib)]
        return [*super().command(trials, workers, seed), *stated]

    def places(self) -> list[dict[str, object]]:
        text = (self.folder.parents[1] / "places").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def on_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OnGpus]:
    driver = tmp_path / "bin" / "nvidia-smi"
    driver.parent.mkdir()
    driver.write_text(DRIVER)
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{driver.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("CURVE_PLACES", str(tmp_path / "places"))
    monkeypatch.setenv("CURVE_STEP_SECONDS", "0.01")
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    made = OnGpus(tmp_path / "runs" / "run")
    with ended_after(made):
        yield made


def given(on_gpus: OnGpus, workers: int, ended: threading.Event) -> list[tuple[str | None, ...]]:
    """Devices, threads and how threads wait, of each worker process, once all of them run."""
    while len(found := on_gpus.workers()) < workers and not ended.is_set():
        time.sleep(0.02)
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
    environments = [process.environ() for process in found]
    return sorted(tuple(each.get(name) for name in names) for each in environments)


def at_once(one: dict[str, object], other: dict[str, object]) -> bool:
    return max(one["began"], other["began"]) < min(one["ended"], other["ended"])  # type: ignore


@pytest.mark.parametrize(
    ("memory_gib", "visible", "devices", "note"),
    [
        # One trial fills a GPU; of the user's own list each worker gets one.
        (
            1.3,
            "1,0",
            [A, B],
            "2 workers instead of 4: a full trial may need 0.9 GiB, and each of the 2 GPUs has "
            "1.3 GiB for training",
        ),
        (3.0, None, [A, A, B, B], ""),
        (
            None,
            None,
            [f"{A},{B}"],
            "1 worker instead of 4: a full trial takes 2 GPUs, and there are 2",
        ),
    ],
)
def test_trials_share_a_gpu_only_where_they_fit(
    on_gpus: OnGpus, memory_gib: float | None, visible: str | None, devices: list[str], note: str
) -> None:
    on_gpus.memory_gib = memory_gib
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    ended = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        workers = beside.submit(given, on_gpus, len(devices), ended)
        try:
            on_gpus.finish(TRIALS, 4, **environment)
        finally:
            ended.set()
    threads = str(max(1, processor().cores // len(devices)))
    assert workers.result() == [(name, threads, "PASSIVE") for name in devices]
    check_whole(on_gpus, TRIALS)
    assert on_gpus.events("warning") == [note] * bool(note)
    places = on_gpus.places()
    used = {place["CUDA_VISIBLE_DEVICES"] for place in places}
    assert used  # a worker that starts late may find nothing left to do
    assert used <= set(devices)
    if len(set(devices)) == len(devices):  # nobody shares
        for one, other in itertools.combinations(places, 2):
            same = one["CUDA_VISIBLE_DEVICES"] == other["CUDA_VISIBLE_DEVICES"]
            assert not (same and at_once(one, other))
