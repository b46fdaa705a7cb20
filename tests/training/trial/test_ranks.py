"""Two processes train one trial together on the CPU."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

from sweeper.backend import Decision, Interrupted
from sweeper.errors import UsageError
from sweeper.facts.record import TrainingSetup
from sweeper.training.checkpoints import newest_checkpoint
from sweeper.training.loop.device_memory import in_batches_that_fit
from sweeper.training.loop.ranks_here import check_wrapped, gathered
from sweeper.training.torch_backend import TorchBackend
from sweeper.training.trial import ranks as module
from sweeper.training.trial.ranks import Ranks, check_device
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import RungReport, TrialConfig, TrialResult

pytestmark = pytest.mark.usefixtures("preloaded")


@pytest.fixture
def kind() -> str:
    """A Llama has no dropout, so that several ranks must train exactly as one does."""
    return "llama"


@pytest.fixture
def two(config: Callable[..., TrialConfig]) -> TrialConfig:
    """A trial for two processes."""
    return config(gpus=2, micro_batch=4)


def _folder(path: Path, name: str) -> Path:
    folder = path / name
    folder.mkdir()
    return folder


def _never() -> bool:
    return False


def _ranks() -> set[int]:
    """Process ids of the ranks that this process has now."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "sweeper.training.rank:train" in process.cmdline():
                found.add(process.pid)
    return found


def _gone(pid: int, within: float = 300.0) -> bool:
    """Whether a process ends soon."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_two_ranks_train_as_one_does_across_a_checkpoint_until_they_are_pruned(
    two: TrialConfig, backend: TorchBackend, tmp_path: Path, answering: type[Any]
) -> None:
    saving = two.model_copy(update={"checkpoints": True})
    alone = answering()
    one = two.with_setup(gpus=1, micro_batch=8)
    backend.train(one, _folder(tmp_path, "alone"), alone, _never)
    first = _folder(tmp_path, "first")
    before, running = answering(rung_3=Decision.STOP), set()

    def stopping(report: RungReport) -> Decision:
        running.update(_ranks())
        return before(report)

    with pytest.raises(Interrupted):
        backend.train(saving, first, stopping, _never)
    assert len(running) == 2
    assert all(_gone(pid) for pid in running)
    path, rung = newest_checkpoint(first)
    assert rung == 3

    after, told = answering(rung_4=Decision.PRUNE), []
    second = _folder(tmp_path, "second")
    backend._on_progress._on_progress = lambda *message: told.append(message)
    result = backend.train(saving, second, after, _never, path)

    assert (result.state, result.pruned_at_rung) == ("PRUNED", 4), result.failure
    assert [report.rung for report in [*before, *after]] == [1, 2, 3, 4]
    # Sums in another order; after 24 steps in fp32 the losses differ by less than 1e-5.
    for mine, other in zip([*before, *after], alone, strict=True):
        assert mine.validation_loss == pytest.approx(other.validation_loss, abs=1e-5)
        assert (mine.tokens, mine.optimizer_steps) == (other.tokens, other.optimizer_steps)
    # Which messages are seen depends on time: the file has the last one.
    assert told
    assert all(0 <= done <= of for _, done, of in told)
    log = (second / "trainer.log").read_text()
    for rank in (0, 1):
        assert f"rank {rank} of 2: DistributedDataParallel over gloo" in log


def test_all_ranks_have_the_values_of_each_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gathered("it overfits") == ["it overfits"]

    def from_all(each: list[Any], mine: str) -> None:
        each[:] = ["it overfits", mine]

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("torch.distributed.all_gather_object", from_all)
    assert gathered("") == ["it overfits", ""]


class Script:
    """Stands in for the ranks' program: each rank runs the text that it is given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, *texts: str) -> None:
        self._pids = folder / "pids"
        self._pids.mkdir()
        keep = f"open({str(self._pids)!r} + '/' + str(os.getpid()), 'w').close()"
        command = "exec(sys.argv[1 + int(os.environ['RANK'])])"
        code = f"import os, sys, time; {keep}; {command}"
        monkeypatch.setattr(module, "rank_command", lambda _: ["-c", code, *texts])

    def all_ended(self, ranks: int = 2) -> bool:
        pids = [int(path.name) for path in self._pids.iterdir()]
        return len(pids) == ranks and all(_gone(pid) for pid in pids)


@pytest.fixture
def make_ranks(two: TrialConfig, backend: TorchBackend, tmp_path: Path) -> Callable[..., Ranks]:
    def make(stop: Callable[[], bool] = _never) -> Ranks:
        shared = backend.shared(two.model)
        shared.context.on_progress.should_stop = stop
        job = TrialJob(shared, two, tmp_path, lambda _: Decision.CONTINUE)
        return Ranks(job, backend._plan)

    return make


def _train(ranks: Ranks) -> TrialResult:
    return ranks.train(ranks.job.setup)


WAIT = "time.sleep(3000)"


@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", -signal.SIGKILL)]
)
def test_a_rank_that_dies_ends_all_with_its_last_words(
    make_ranks: Callable[..., Ranks],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    end: str,
    status: int,
) -> None:
    said = "print('the card is gone', file=sys.stderr, flush=True)"
    script = Script(monkeypatch, tmp_path, WAIT, f"{said}; {end}")

    with pytest.raises(RuntimeError, match=f"rank 1 of 2 ended with status {status}: the card is"):
        _train(make_ranks())

    assert script.all_ended()
    assert "rank 1: the card is gone" in (tmp_path / "trainer.log").read_text()


def test_a_rank_that_diverges_ends_all_and_is_the_trials_result(
    make_ranks: Callable[..., Ranks],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    script = Script(monkeypatch, tmp_path, WAIT, _ends_with(tmp_path, "diverged"))

    result = _train(make_ranks())

    assert result.failure is not None
    assert result.failure.kind == "diverged"
    assert script.all_ended()


def _ends_with(folder: Path, kind: str) -> str:
    failed = {"state": "FAIL", "failure": {"kind": kind, "detail": "it did"}}
    result = TrialResult.model_validate({"number": 1, "attempt": 1, "seed": 0, **failed})
    place = folder / "ranks" / "rank-1"
    wrote = f"open({str(place / module.RESULT)!r}, 'w').write({result.model_dump_json()!r})"
    return f"import os; os.mkdir({str(place)!r}); {wrote}; sys.exit(1)"


def test_memory_that_runs_out_on_one_rank_halves_the_micro_batch_of_all(
    make_ranks: Callable[..., Ranks],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    Script(monkeypatch, tmp_path, WAIT, _ends_with(tmp_path, "out-of-memory"))
    tried: list[TrainingSetup] = []
    train = Ranks.train

    def remembered(self: Ranks, setup: TrainingSetup) -> TrialResult:
        tried.append(setup)
        if len(tried) == 2:
            raise Interrupted
        return train(self, setup)

    monkeypatch.setattr(Ranks, "train", remembered)
    ranks = make_ranks()
    with pytest.raises(Interrupted):
        in_batches_that_fit(ranks.job.setup, ranks.train, lambda: False)

    assert [(one.micro_batch, one.gradient_accumulation_steps) for one in tried] == [(4, 1), (2, 2)]


def test_a_stop_ends_all_ranks(
    make_ranks: Callable[..., Ranks],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    script = Script(monkeypatch, tmp_path, WAIT, WAIT)

    def both_run() -> bool:
        return len(list((tmp_path / "pids").iterdir())) == 2

    with pytest.raises(Interrupted):
        _train(make_ranks(both_run))

    assert script.all_ended()


@pytest.mark.usefixtures("new_processes")
def test_ranks_end_with_the_worker(tmp_path: Path) -> None:
    began = f"open({str(tmp_path)!r} + '/' + os.environ['RANK'], 'w').write(str(os.getpid()))"
    code = "import os, sys, time; from sweeper.child_process import die_with"
    code += "; die_with(int(sys.argv[-1]))"
    code += f"; {began}; {WAIT}"
    start = (
        "import time; from sweeper.child_process import start_child;"
        "from sweeper.training.launch import LaunchRequest;"
        f"request = LaunchRequest(ranks=2, folder={str(tmp_path)!r}, command=('-c', {code!r}));"
        "start_child('sweeper.training.launch:launch', request);"
        "time.sleep(3000)"
    )
    worker = subprocess.Popen([sys.executable, "-c", start])
    try:
        files = [tmp_path / rank for rank in "01"]
        while not all(file.is_file() and file.read_text() for file in files):
            time.sleep(0.05)
            assert worker.poll() is None
        launchers = [child.pid for child in psutil.Process(worker.pid).children()]
    finally:
        worker.kill()
        worker.wait()
    assert len(launchers) == 1
    assert all(_gone(pid) for pid in (*launchers, *(int(file.read_text()) for file in files)))


def test_each_rank_needs_a_gpu_of_its_own(
    two: TrialConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError):
        check_device(two)


def test_a_model_that_was_not_wrapped_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(RuntimeError, match="is a Linear on 2 devices, not wrapped in DDP"):
        check_wrapped(nn.Linear(1, 1))
