"""Workers that the system kills for their memory: told from other kills, and learnt from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Sweeper, check_whole, ended_after
from curve_backend import make_plan
from optuna.trial import TrialState
from sweeper.execution.claims import Queue, lease_of
from sweeper.execution.endings import Gone
from sweeper.execution.jobqueue import JobQueue
from sweeper.execution.jobs import Job, attempt_folder, confirm, scoring
from sweeper.execution.oom_killer import REMEMBERED_SECONDS, OomKills, counter_file, kills_in
from sweeper.execution.settle import recover
from sweeper.search.storage import open_storage

from sweeper.execution import lessons, records
from sweeper.execution.strikes import STRIKES_ALLOWED, Strikes
from sweeper.runfolder import RunFolder
from sweeper.search.configure import configure
from sweeper.search.study import create_study
from sweeper.trials import AttemptEnd, Failure, TrialConfig, TrialResult

V1 = "5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/user/run\n", {"user/run/memory.events": "low 0\noom_kill 3\n"}, 3),
        # A container sees the host's path, and its own group where groups are mounted.
        ("0::/docker/12ab\n", {"memory.events": "oom 9\noom_kill 2\noom_group_kill 0\n"}, 2),
        (V1, {"memory/a/b/memory.oom_control": "oom_kill_disable 0\noom_kill 4\n"}, 4),
        (V1, {"memory/memory.oom_control": "under_oom 0\noom_kill 5\n"}, 5),
        # Kernels before 4.13 do not count there.
        (V1, {"memory/a/b/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\n"}, None),
        ("", {}, None),
    ],
)
def test_the_counter_of_the_own_control_group_is_found(
    tmp_path: Path, groups: str, files: dict[str, str], expected: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = counter_file(groups, tmp_path)
    own = found if found is not None and found.is_relative_to(tmp_path) else None
    assert (None if own is None else kills_in(own)) == expected


def count(place: Path, kills: int) -> None:
    place.write_text(f"oom {kills + 7}\noom_kill {kills}\n")


def test_a_kill_is_the_systems_if_the_counter_has_risen_by_one_for_it(tmp_path: Path) -> None:
    place, now = tmp_path / "memory.events", 0.0
    count(place, 3)
    kills = OomKills(place, clock=lambda: now)
    assert not kills.was_one()
    count(place, 5)
    assert [kills.was_one() for _ in range(3)] == [True, True, False]
    # What was counted long ago was some other process of the group.
    count(place, 6)
    kills.look()
    now += REMEMBERED_SECONDS + 1
    assert not kills.was_one()


@pytest.mark.parametrize("text", [None, "", "oom_kill many\n"])
def test_a_counter_that_cannot_be_read_says_nothing(tmp_path: Path, text: str | None) -> None:
    place = tmp_path / "memory.events"
    if text is not None:
        place.write_text(text)
    assert not OomKills(place).was_one()
    assert not OomKills(None).was_one()


def test_the_next_try_takes_half_of_both_batches_until_there_is_nothing_to_halve() -> None:
    config = a_config(8, 32)
    sizes = []
    while (learned := lessons.after_kill(config)) is not None:
        sizes.append((learned.micro, learned.evaluation))
        config = config.model_copy(
            update={"micro_batch": learned.micro, "evaluation_batch": learned.evaluation}
        )
    assert sizes == [(4, 16), (2, 8), (1, 4), (1, 2), (1, 1)]


def test_workers_killed_for_memory_are_no_strikes_once_they_had_claimed_something() -> None:
    claimed, unclaimed = Strikes(), Strikes()
    for _ in range(STRIKES_ALLOWED):
        claimed._claimed.add("0")
        claimed.ended("0", asked=False, starved=True)
        unclaimed.ended("0", asked=False, starved=True)
    assert not claimed.out()
    assert unclaimed.out()


class Counted(Sweeper):
    """The real command, on a machine whose counter is a file of the test."""

    @property
    def counter(self) -> Path:
        return self.folder.parents[1] / "memory.events"

    def command(self, trials: int, workers: int, seed: int) -> list[str]:
        program = (
            "from pathlib import Path; from sweeper.execution import oom_killer; "
            f"oom_killer.counter_file = lambda: Path({str(self.counter)!r}); "
            "from sweeper.cli.main import main; main()"
        )
        return [sys.executable, "-c", program, *super().command(trials, workers, seed)[3:]]


@pytest.fixture
def counted(tmp_path: Path) -> Iterator[Counted]:
    made = Counted(tmp_path / "runs" / "run")
    made.strategies = "full,head"
    with ended_after(made):
        yield made


def test_a_trial_that_the_system_killed_goes_on_smaller_and_so_do_those_after_it(
    counted: Counted,
) -> None:
    count(counted.counter, 3)
    killer = f"1:4:{counted.counter}"  # full; the head comes first
    counted.finish(5, 1, CURVE_STEP_SECONDS="0", CURVE_OOM_KILLER=killer)
    check_whole(counted, 5)
    planned = TrialConfig.read(counted.run.attempt(1, 1) / "config.json")
    final = TrialConfig.read(counted.run.trial(1) / "config.json")
    assert planned.micro_batch > 4 >= final.micro_batch
    effective = planned.micro_batch * planned.gradient_accumulation_steps
    assert final.micro_batch * final.gradient_accumulation_steps == effective
    first, kills = counted.trials()[1], kills_in(counted.counter)
    assert kills is not None
    assert (lease_of(first).crashes, lease_of(first).attempt) == (0, kills - 3 + 1)
    end = AttemptEnd.read(counted.run.attempt(1, 1) / "ended.json")
    assert end.kind == "out-of-memory"
    assert end.detail == "the system killed worker 0 because memory ran out"
    table = counted.table()
    assert f"micro-batch {final.micro_batch} instead of" in table[1]["memory_note"]
    taught = [n for n in table if n > 1 and table[n]["strategy"] == "full"]
    assert taught
    for number in taught:
        note = table[number]["memory_note"]
        assert note.endswith("the system killed trial 1 because memory ran out")
        config = TrialConfig.read(counted.run.trial(number) / "config.json")
        assert config.micro_batch <= final.micro_batch


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    storage = open_storage(f"journal:{tmp_path}/study.log")
    return Queue(storage, create_study(storage, "s"))


def a_config(micro: int, evaluation: int) -> TrialConfig:
    plan = make_plan()
    candidate = plan.candidate("lora")
    config = configure(plan, candidate, candidate.defaults(), number=0, attempt=1, origin="search")
    return config.model_copy(update={"micro_batch": micro, "evaluation_batch": evaluation})


def test_a_trial_of_one_example_that_the_system_kills_has_failed_for_want_of_memory(
    tmp_path: Path, queue: Queue
) -> None:
    run = RunFolder(tmp_path)
    queue.add({}, {})
    for micro, evaluation, ended in ((1, 2, False), (1, 1, True)):
        claim = queue.claim("h/1/0")
        assert claim is not None
        config = a_config(micro, evaluation).model_copy(update={"attempt": claim.lease.attempt})
        records.begin_attempt(run.trial(0), config)
        trial = queue.trial(0)
        assert recover(queue, run, trial, crashed=True, why="starved", starved=True) is ended
    result = TrialResult.read(run.trial(0) / "result.json")
    assert result.failure == Failure(kind="out-of-memory", detail="starved")
    assert queue.trial(0).state == TrialState.FAIL
    assert lease_of(queue.trial(0)).crashes == 0


def test_a_confirmation_run_and_a_test_score_learn_the_same_way(
    tmp_path: Path, queue: Queue
) -> None:
    jobs = JobQueue(RunFolder(tmp_path), queue)
    jobs.ensure([confirm(3, 7), scoring(3)])
    for trial in jobs.trials:
        claim = queue.claim("elsewhere/1/0")
        assert claim is not None
        a_config(8, 2).write(attempt_folder(jobs.run, Job.of(trial), 1) / "config.json")
    jobs.watch.end("elsewhere/1/0")
    gone = Gone("the system killed worker 0 because memory ran out", starved=True)
    found = jobs.recover(crashed=True, ends={"elsewhere/1/0": gone})
    assert [(one.state, one.why) for one in found] == [("", gone.why)] * 2
    assert {trial.state for trial in jobs.trials} == {TrialState.WAITING}
    assert [lease_of(trial).crashes for trial in jobs.trials] == [0, 0]
    config = lessons.apply(a_config(8, 2), jobs.trials)
    assert (config.micro_batch, config.evaluation_batch) == (4, 1)
    names = "confirm-3-seed-7, trial-3"
    assert config.memory_note.endswith(f"the system killed {names} because memory ran out")
    # Baselines have no batches that could be halved: there it stays a crash, in the same words.
    jobs.ensure([Job("baselines", "baselines")])
    while queue.claim("elsewhere/1/0"):
        pass
    found = jobs.recover(crashed=True, ends={"elsewhere/1/0": gone})
    assert found[-1].why == gone.why
    assert lease_of(jobs.trials[-1]).crashes == 1
