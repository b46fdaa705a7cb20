"""Real commands over the curve backend, started and looked at from tests."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import curve_backend
import psutil
import pytest
from configs import trials_of
from optuna.trial import FrozenTrial, TrialState

from sweeper.cli import main as command_line
from sweeper.execution.pools.local_pool import WORKER
from sweeper.execution.state.attempts import RESULT, attempts_of
from sweeper.processes.report_maker import ReportMaker
from sweeper.runfolder import RunFolder
from sweeper.trials import TrialResult

HERE = Path(__file__).parent
PATHS = os.pathsep.join([str(HERE.parents[1]), str(HERE)])


@dataclass
class Commands:
    """Starts sweep commands in one run folder."""

    folder: Path
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def run(self) -> RunFolder:
        return RunFolder(self.folder)

    @property
    def place(self) -> Path | None:
        """Where commands are given; None for where the tests are."""
        return None

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        program = [sys.executable, str(HERE / "curve_backend.py"), str(self.folder)]
        return [*program, str(trials), str(workers), str(seed)]

    def start(
        self, trials: int, workers: int = 1, seed: int = 0, **environment: str
    ) -> subprocess.Popen[str]:
        popen = subprocess.Popen(
            self.command(trials, workers, seed),
            cwd=self.place,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PATHS, **environment},
        )
        self.started.append(popen)
        return popen

    def ended_apart(
        self, trials: int, workers: int = 1, **environment: str
    ) -> tuple[int, str, str]:
        """Run to the end; exit code, and what was printed on both streams."""
        popen = self.start(trials, workers, **environment)
        out, errors = popen.communicate(timeout=400)
        return popen.returncode, out, errors

    def main(self) -> object:
        """The program in this process; its exit code, unless it raises ``SystemExit``."""
        return curve_backend.main()

    def ended(self, trials: int, workers: int = 1, **environment: str) -> tuple[int, str, str]:
        """As ``ended_apart``, but in this process, which has imported everything.

        Workers are processes all the same. The report is made once, at the end, without charts.
        """
        words = self.command(trials, workers, 0)
        out, errors = io.StringIO(), io.StringIO()
        code: object = 0
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.chdir(self.place or Path.cwd()),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            for name, value in {"PYTHONPATH": PATHS, **environment}.items():
                patch.setenv(name, value)
            without_charts(patch)
            patch.setattr(sys, "argv", words[words.index(sys.executable) + 1 :])
            try:
                code = self.main()
            except SystemExit as end:
                code = end.code
        return int(code or 0), out.getvalue(), errors.getvalue()  # type: ignore[call-overload]

    def finish(self, trials: int, workers: int = 1, **environment: str) -> str:
        """Run to the end and return what was printed."""
        code, out, errors = self.ended(trials, workers, **environment)
        assert code == 0, errors
        return out

    def workers(self) -> list[psutil.Process]:
        """Worker processes on this folder that are alive."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            words = process.info["cmdline"] or []
            ours = WORKER in words and str(self.folder) in words
            if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def wait_for(self, reached: Callable[[], object], seconds: float = 300.0) -> None:
        limit = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < limit, "it did not happen in time"
            time.sleep(0.02)

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def trials(self) -> list[FrozenTrial]:
        return trials_of(self.run)

    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.trials()]


def without_charts(patch: pytest.MonkeyPatch) -> None:
    """Let commands of this process make their report themselves, once and without charts."""

    def finish(maker: ReportMaker, *_args: object, **_options: object) -> object:
        findings = maker._make_in_this_process()
        maker.no_charts = ""
        return findings

    patch.setattr(ReportMaker, "poll", lambda _: None)
    patch.setattr(ReportMaker, "finish", finish)


class Sweeper(Commands):
    """Starts the real command, ``sweeper run``, over the curve backend."""

    strategies = "lora,full,head"

    @property
    def place(self) -> Path:
        return self.folder.parents[1]

    def main(self) -> object:
        sys.argv[:2] = ["sweeper"]  # for -m and the module
        command_line.main()
        return 0

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        words = "--task classification --model packaged:minilm --data rows.jsonl --progress plain "
        words += (
            f"--strategies {self.strategies} --finalists 1 --confirmation-seeds 1 --max-length 32 "
        )
        words += f"--backend curve_backend:make --trials {trials} --workers {workers} --seed {seed}"
        program = [sys.executable, "-m", "sweeper", "run", "--name", self.folder.name]
        return [*program, *words.split()]

    def write_rows(self) -> None:
        words = {"fruit": "apple pear plum", "metal": "iron zinc gold", "river": "nile rhine po"}
        rows = [
            {"text": f"what do you know about {names.split()[n % 3]} number {n}", "label": label}
            for label, names in words.items()
            for n in range(40)
        ]
        path = self.place / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def start(
        self, trials: int, workers: int = 1, seed: int = 0, **environment: str
    ) -> subprocess.Popen[str]:
        self.write_rows()
        return super().start(trials, workers, seed, **environment)

    def ended(self, trials: int, workers: int = 1, **environment: str) -> tuple[int, str, str]:
        self.write_rows()
        return super().ended(trials, workers, **environment)

    def table(self) -> dict[int, dict[str, str]]:
        """``trials.csv`` by trial."""
        with (self.folder / "trials.csv").open() as file:
            return {int(row["trial"]): row for row in csv.DictReader(file)}

    def events(self, kind: str) -> list[str]:
        """What events of a kind said, over all calls."""
        events = [json.loads(line) for line in self.lines("events.jsonl")]
        return [event.get("text", "") for event in events if event["kind"] == kind]


@contextmanager
def ended_after(made: Commands) -> Iterator[None]:
    """Leave nothing running behind."""
    yield
    for popen in made.started:
        if popen.poll() is None:
            popen.kill()
        popen.communicate()
    made.wait_for(lambda: not made.workers())


def check_whole(commands: Commands, total: int) -> None:
    """The run has exactly so many trials, all ended, none trained after its end."""
    trials = commands.trials()
    assert [trial.number for trial in trials] == list(range(total))
    assert all(trial.state.is_finished() for trial in trials)
    trained = [line.split() for line in commands.lines("trained.log")]
    for trial in trials:
        result = TrialResult.read(commands.run.trial(trial.number) / RESULT)
        assert result.state == trial.state.name
        assert result.validation_loss == (trial.value if result.state == "COMPLETE" else None)
        own = [int(a) for n, a, seed in trained if int(n) == trial.number and seed == "0"]
        assert result.attempt == max(attempts_of(commands.run.trial(trial.number)))
        assert own == sorted(set(own))
        if result.state != "FAIL":  # the last attempt of a failed one may have died before it
            assert max(own) == result.attempt


@pytest.fixture(autouse=True)
def workers_find_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", PATHS)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    made = Commands(tmp_path / "run")
    with ended_after(made):
        yield made


@pytest.fixture
def assert_whole(commands: Commands) -> Callable[[int], None]:
    """See ``check_whole``."""
    return lambda total: check_whole(commands, total)
