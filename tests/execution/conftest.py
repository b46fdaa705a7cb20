"""Real commands over the curve backend, started and looked at from tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import FrozenTrial, TrialState

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from sweeper.execution.claims import lease_of  # noqa: E402
from sweeper.execution.records import RESULT  # noqa: E402
from sweeper.runfolder import RunFolder  # noqa: E402
from sweeper.search.storage import default_url, open_storage  # noqa: E402
from sweeper.search.study import load_study  # noqa: E402
from sweeper.trials import TrialResult  # noqa: E402

PATHS = os.pathsep.join([str(HERE.parents[1]), str(HERE)])


@pytest.fixture(autouse=True)
def _workers_find_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)


@dataclass
class Commands:
    """Starts sweep commands in one run folder."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.folder)

    def start(
        self, trials: int, workers: int = 1, seed: int = 0, **environment: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / "curve_backend.py"), str(self.folder)]
        popen = subprocess.Popen(
            [*command, str(trials), str(workers), str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PATHS, **environment},
        )
        self.started.append(popen)
        return popen

    def finish(self, trials: int, workers: int = 1, **environment: str) -> str:
        """Run to the end and return what was printed."""
        popen = self.start(trials, workers, **environment)
        out, errors = popen.communicate(timeout=60)
        assert popen.returncode == 0, errors
        return out

    def workers(self) -> list[psutil.Process]:
        """Worker processes on this folder that are alive."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            ours = "sweeper.execution.worker" in words and str(self.folder) in words
            if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def wait_for(self, reached: Callable[[], object], seconds: float = 20.0) -> None:
        limit = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < limit, "it did not happen in time"
            time.sleep(0.02)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def trials(self, name: str = "") -> list[FrozenTrial]:
        url = os.environ.get("CURVE_STORAGE") or default_url(self.run.study)
        storage = open_storage(url)
        return load_study(storage, name or self.folder.name).get_trials(deepcopy=False)

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.trials()]


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(tmp_path / "run")
    yield made
    for popen in made.started:
        if popen.poll() is None:
            popen.kill()
        popen.communicate()
    made.wait_for(lambda: not made.workers(), 5.0)


@pytest.fixture
def assert_whole(commands: Commands) -> Callable[[int], None]:
    """The run has exactly so many trials, all ended, none trained after its end."""

    def check(total: int) -> None:
        trials = commands.trials()
        assert [trial.number for trial in trials] == list(range(total))
        assert all(trial.state.is_finished() for trial in trials)
        trained = [line.split() for line in commands.lines("trained.log")]
        for trial in trials:
            result = TrialResult.read(commands.run.trial(trial.number) / RESULT)
            assert result.state == trial.state.name
            assert result.validation_loss == (trial.value if result.state == "COMPLETE" else None)
            own = [int(a) for n, a, seed in trained if int(n) == trial.number and seed == "0"]
            assert max(own) == result.attempt == lease_of(trial).attempt
            assert own == sorted(set(own))

    return check


optuna.logging.set_verbosity(optuna.logging.WARNING)
