"""Kills the real command, its workers and both at random moments, and counts what that costs.

    python -m benchmarks.execution.kills                    50 kills, ten in each phase
    python -m benchmarks.execution.kills --executor ray     20 kills on clusters of three nodes
    python -m benchmarks.execution.kills --kills 5 --seed 3

``sweeper run`` works on the tests' curve backend, slowed down. Whatever is killed, the same command
is given again until the run is whole. Exits with 1 if a trial was lost or trained after its end, a
total is wrong, or a process outlived the command by more than 60 s.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import json_lines
from sweeper.execution.pools.local_pool import WORKER
from sweeper.execution.state.attempts import attempts_of
from sweeper.execution.state.status import Status
from sweeper.runfolder import RESULT, RunFolder
from sweeper.trials import TestSeal, TrialResult

HERE = Path(__file__).parents[2]
TRIALS, WORKERS, FINALISTS, SEEDS = 16, 2, 3, 3
# After a phase has begun, the kill comes within so many seconds.
PHASES = {"baselines": 2.0, "search": 3.0, "confirmation": 1.5, "test": 1.0, "report": 2.0}
VICTIMS = ("command", "worker", "both")
RAY_VICTIMS = ("command", "command's node", "worker's node", "actor", "worker")
ORPHANS_SECONDS = 60.0
# In the environment of commands and of what they start; and of what the nodes of a cluster start.
_MARK, _NODE_MARK = "SWEEPER_KILLS_MARK", "SWEEPER_KILLS_NODE_MARK"
_ACTOR = "ray::WorkerActor"
_STUCK_SECONDS = 300.0
WORDS = (
    "--task classification --model packaged:minilm --data rows.jsonl --strategies lora,full,head "
    f"--finalists {FINALISTS} --confirmation-seeds {SEEDS} --max-length 32 --progress plain "
    f"--trials {TRIALS} --workers {WORKERS} --backend benchmarks.execution.phases:make --name run"
)


@dataclass(frozen=True)
class Kill:
    """One kill.

    Args:
        phase: That the run was in.
        victim: What was killed.
        orphans_seconds: How long something outlived the command; 0 where that lived on.
    """

    phase: str
    victim: str
    orphans_seconds: float


@dataclass
class Ended:
    """What a trial or a confirmation run had come to when something was killed."""

    attempt: int
    loss: float | None
    state: str


@dataclass
class Sweep:
    """One run: its command, started again and again, and who is killed.

    Args:
        place: Where the command is given.
        executor: ``local`` or ``ray``.
    """

    place: Path
    executor: str = "local"
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    kills: list[Kill] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    starts: int = 0
    nodes: Nodes | None = None
    _popen: subprocess.Popen[bytes] | None = None
    _read_from: int = 0
    _ended: dict[Path, Ended] = field(default_factory=dict)

    @property
    def run(self) -> RunFolder:
        """Its folder."""
        return RunFolder(self.place / "runs" / "run")

    @property
    def popen(self) -> subprocess.Popen[bytes]:
        """The command that was started last."""
        assert self._popen is not None
        return self._popen

    def start(self) -> None:
        """Give the command."""
        self.starts += 1
        self._read_from = len(self._lines())
        program = [sys.executable, "-m", "sweeper", "run", *WORDS.split()]
        environment = {**os.environ, **surroundings(), _MARK: self.mark}
        if self.executor == "ray":
            self.nodes = self.nodes or Nodes(self.mark)
            program += ["--executor", "ray"]
            environment["RAY_ADDRESS"] = self.nodes.address
        with (self.place / "log").open("ab") as log:
            self._popen = subprocess.Popen(
                program,
                cwd=self.place,
                env=environment,
                stdout=log,
                stderr=log,
            )

    def _lines(self) -> list[str]:
        events = self.run.events
        return events.read_text(encoding="utf-8").splitlines() if events.exists() else []

    def phase(self) -> str:
        """Where the command stands, by the events of this call."""
        found = "start"
        for line in self._lines()[self._read_from :]:
            with suppress(ValueError):  # one is being written
                event = json.loads(line)
                if event["kind"] == "phase":
                    found = event["state"]
                elif event["kind"] == "job-ended" and event.get("job") == "baselines":
                    found = "search"
                elif event["kind"] == "run-ended":
                    found = "report"
        return found

    def reach(self, phase: str) -> bool:
        """Wait for a phase; False if the command went past it."""
        order, limit = ["start", *PHASES], time.monotonic() + _STUCK_SECONDS
        while (now := self.phase()) in order and order.index(now) < order.index(phase):
            if self.popen.poll() is not None:
                raise RuntimeError(f"the command ended with {self.popen.returncode} in {now}")
            if time.monotonic() > limit:
                raise RuntimeError(f"nothing goes on in {now}")
            time.sleep(0.02)
        return now == phase

    def kill(self, phase: str, victim: str, generator: random.Random) -> bool:
        """Kill once in that phase, if it still comes; start again what was killed."""
        if not self.reach(phase):
            return False
        time.sleep(generator.uniform(0.0, PHASES[phase]))
        if self.popen.poll() is not None:
            if phase != "report":
                raise RuntimeError(f"the command ended with {self.popen.returncode} in {phase}")
            self.start()  # a whole run reports once more
            return self.kill(phase, victim, generator)
        self._note_ended()
        found, victims = self.phase(), self._victims(victim, generator)
        if not victims:
            return False
        for kill in victims:
            kill()
        if "command" not in victim and victim != "both":
            self.kills.append(Kill(found, victim, 0.0))
            return True
        self.popen.wait()
        self.kills.append(Kill(found, victim, self._orphans()))
        self._check_ended()
        self.start()
        return True

    def _victims(self, victim: str, generator: random.Random) -> list[Callable[[], object]]:
        workers = self._workers() or self._children()  # the report has a process of its own
        generator.shuffle(workers)
        kills: list[Callable[[], object]] = []
        if victim in ("command", "both", "command's node"):
            kills.append(self.popen.kill)
        if victim in ("worker", "both"):
            kills += [_killer(one) for one in workers[:1]]
        if victim == "actor":
            actors = [one for worker in workers[:1] for one in worker.parents()]
            kills += [_killer(one) for one in actors if one.name().startswith(_ACTOR)][:1]
        if self.nodes is not None and victim == "worker's node":
            kills.append(self.nodes.lose_one)
        if self.nodes is not None and victim == "command's node":
            kills.append(self.nodes.lose_head)
            self.nodes = None
        generator.shuffle(kills)
        return kills

    def _marked(self) -> Iterator[psutil.Process]:
        """All that lives and was started by this run's commands, on whatever node."""
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                known = process.environ()
                ours = known.get(_MARK) == self.mark
                ours |= known.get(_NODE_MARK) == self.mark and process.name().startswith(_ACTOR)
                ours |= str(self.run.path.resolve()) in process.cmdline()
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    yield process

    def _workers(self) -> list[psutil.Process]:
        return [one for one in self._marked() if WORKER in one.cmdline()]

    def _children(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            found: list[psutil.Process] = psutil.Process(self.popen.pid).children(recursive=True)
            return found
        return []

    def _orphans(self) -> float:
        began = time.monotonic()
        while left := list(self._marked()):
            if time.monotonic() - began > ORPHANS_SECONDS:
                words = {" ".join(one.cmdline())[:80] for one in left}
                self.faults.append(f"after {ORPHANS_SECONDS:.0f} s there lives: {words}")
                for one in left:
                    _killer(one)()
                break
            time.sleep(0.02)
        return time.monotonic() - began

    def _results(self) -> dict[Path, Ended]:
        homes = [*self.run.trials.glob("*"), *self.run.trials.glob("*/seeds/*")]
        found = {}
        for home in homes:
            result = TrialResult.read_or_none(home / RESULT)
            if result is not None:
                found[home] = Ended(result.attempt, result.validation_loss, result.state)
        return found

    def _note_ended(self) -> None:
        self._ended |= self._results()

    def _check_ended(self) -> None:
        """What had ended stays as it was."""
        now = self._results()
        for home, before in self._ended.items():
            if now.get(home) != before:
                self.faults.append(f"{home.name} was {before} and is {now.get(home)}")

    def finish(self) -> None:
        """Let the command come to its end, give it again if need be, and check the whole run."""
        while (code := self.popen.wait(_STUCK_SECONDS)) != 0:
            self.faults.append(f"a command ended with {code}")
            if self.starts > 3 * len(PHASES) * len(RAY_VICTIMS):
                return
            self.start()
        self._check_ended()
        self.faults += check(self)


def surroundings() -> dict[str, str]:
    """What commands and the nodes of a cluster need in their environment."""
    return {
        "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE / "tests" / "execution")]),
        "CURVE_STEP_SECONDS": os.environ.get("CURVE_STEP_SECONDS", "0.02"),
        "SCORE_SECONDS": "0.4",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }


def _killer(process: psutil.Process) -> Callable[[], None]:
    def kill() -> None:
        with suppress(psutil.NoSuchProcess):
            process.kill()

    return kill


class Nodes:
    """A Ray cluster on this machine: a head that does no work, two nodes with room for a worker."""

    def __init__(self, mark: str) -> None:
        from ray.cluster_utils import Cluster  # takes seconds, and only some kills need it

        logging.getLogger("ray").setLevel(logging.WARNING)
        self._environment = {**surroundings(), _NODE_MARK: mark}
        os.environ.update(surroundings())
        head = {"num_cpus": 0, "include_dashboard": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [self._add(), self._add()]

    def _add(self) -> Any:
        return self._cluster.add_node(num_cpus=1, memory=3 * 2**30, env_vars=self._environment)

    @property
    def address(self) -> str:
        """What commands join."""
        return str(self._cluster.address)

    def lose_one(self) -> None:
        """A node is gone with all on it, and another one comes."""
        self._cluster.remove_node(self._nodes.pop(0), allow_graceful=False)
        self._nodes.append(self._add())

    def lose_head(self) -> None:
        """The node that the cluster is governed from is gone; the others are left to themselves."""
        self._cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)

    def close(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


def check(sweep: Sweep) -> list[str]:
    """All that is wrong with a run that has ended."""
    run, faults = sweep.run, []
    tests = importlib.import_module("commands")
    try:
        tests.check_whole(tests.Commands(run.path.resolve()), TRIALS)
    except AssertionError as error:
        faults.append(f"trials: {error}")
    status = Status.read(run.status)
    states = Counter(str(TrialResult.read(run.trial(n) / RESULT).state) for n in range(TRIALS))
    counted = {"COMPLETE": status.complete, "PRUNED": status.pruned, "FAIL": status.failed}
    if {state: states[state] for state in counted} != counted or status.trials != TRIALS:
        faults.append(f"status.json counts {counted} of {status.trials}, files {dict(states)}")
    if status.phase != "complete":
        faults.append(f"the run ended as {status.phase}")
    faults += _seeds(run) + _tests(run) + _table(run)
    return faults


def _seeds(run: RunFolder) -> list[str]:
    order = TestSeal.read(run.test_seal).order
    faults = [] if len(order) == FINALISTS else [f"{len(order)} finalists"]
    trained = Counter((run.path / "trained.log").read_text(encoding="utf-8").splitlines())
    for number in order:
        for seed in range(1, SEEDS):
            result = TrialResult.read_or_none(run.seed(number, seed) / RESULT)
            if result is None or result.state != "COMPLETE":
                faults.append(f"trial {number} lacks seed {seed}")
    faults += [f"an attempt was trained twice: {line}" for line, n in trained.items() if n > 1]
    return faults


def _tests(run: RunFolder) -> list[str]:
    seal, faults = TestSeal.read(run.test_seal), []
    names = [score.name for score in seal.scores]
    if not seal.complete or len(names) != len(set(names)):
        faults.append(f"the test seal holds {names}")
    if len(names) < 2 + FINALISTS * SEEDS:
        faults.append(f"only {len(names)} test scores")
    scored = Counter((run.path / "tested.log").read_text(encoding="utf-8").split())
    for name, times in scored.items():
        if times > len(attempts_of(run.path / "jobs" / name)):
            faults.append(f"{name} was scored {times} times")
    return faults


def _table(run: RunFolder) -> list[str]:
    rows = (run.path / "trials.csv").read_text(encoding="utf-8").splitlines()[1:]
    numbers = sorted(int(row.split(",")[0]) for row in rows)
    whole = numbers == list(range(TRIALS)) and run.report_html.exists()
    return [] if whole else [f"the report tells of the trials {numbers}"]


def write_rows(path: Path, each: int = 40) -> None:
    """A small classification task."""
    words = {"fruit": "apple pear plum", "metal": "iron zinc gold", "river": "nile rhine po"}
    rows = [
        {"text": f"what do you know about {names.split()[n % 3]} number {n}", "label": label}
        for label, names in words.items()
        for n in range(each)
    ]
    json_lines.write(path, rows)


def one_study(place: Path, wanted: list[tuple[str, str]], seed: int, executor: str) -> Sweep:
    """Kill one run as wanted, in the order of its phases, and let it come to its end."""
    place.mkdir()
    write_rows(place / "rows.jsonl")
    sweep, generator = Sweep(place, executor), random.Random(seed)
    try:
        sweep.start()
        for phase in PHASES:
            for victim in [victim for at, victim in wanted if at == phase]:
                sweep.kill(phase, victim, generator)
        sweep.finish()
    except RuntimeError as error:
        sweep.faults.append(str(error))
    finally:
        sweep.popen.kill()
        if sweep.nodes is not None:
            sweep.nodes.close()
    return sweep


def wishes(count: int, victims: tuple[str, ...]) -> list[tuple[str, str]]:
    """So many kills, spread over phases and victims alike."""
    pairs = [(phase, victims[(n + k) % len(victims)]) for n in range(count)
             for k, phase in enumerate(PHASES)]  # fmt: skip
    return pairs[:count]


def table(kills: list[Kill], victims: tuple[str, ...]) -> str:
    """Kills by phase and victim."""
    counts = Counter((one.phase, one.victim) for one in kills)
    phases = [*PHASES, *sorted({one.phase for one in kills} - set(PHASES))]
    lines = ["phase         " + "".join(f"{victim:>16}" for victim in victims) + "     all"]
    for phase in phases:
        row = [counts[phase, victim] for victim in victims]
        lines.append(f"{phase:14}" + "".join(f"{n:16}" for n in row) + f"{sum(row):8}")
    sums = [sum(one.victim == victim for one in kills) for victim in victims]
    lines.append(f"{'all':14}" + "".join(f"{n:16}" for n in sums) + f"{len(kills):8}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.execution.kills")
    parser.add_argument("--executor", choices=("local", "ray"), default="local")
    parser.add_argument("--kills", type=int, help="50, or 20 on Ray")
    parser.add_argument("--in-one", type=int, default=10, help="kills in one run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="leave the runs in this folder")
    chosen = parser.parse_args()
    victims = RAY_VICTIMS if chosen.executor == "ray" else VICTIMS
    count = chosen.kills or (20 if chosen.executor == "ray" else 50)
    kills: list[Kill] = []
    faults: list[str] = []
    starts = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as made:
        folder = chosen.keep or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        for study in range(4 * count):
            left = wishes(count, victims)[len(kills) :][: chosen.in_one]
            if not left:
                break
            place = folder / f"study-{chosen.seed + study}"
            sweep = one_study(place, left, chosen.seed + study, chosen.executor)
            kills += sweep.kills
            starts += sweep.starts
            faults += [f"{place.name}: {fault}" for fault in sweep.faults]
            print(f"{place.name}: {len(sweep.kills)} kills, {len(sweep.faults)} faults", flush=True)
    print(table(kills, victims))
    longest = max((one.orphans_seconds for one in kills), default=0.0)
    print(f"commands {starts}, faults {len(faults)}, last process gone after {longest:.1f} s")
    print(f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    for fault in faults:
        print(f"  {fault}", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.path.insert(0, str(HERE / "tests" / "execution"))
    sys.exit(main())
