"""One run of the real command in which trials hang, stop, raise, diverge and run out of memory,
while every wall clock jumps by a day back and forth.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import PATHS, Sweeper, check_whole, ended_after

from sweeper.execution.state.attempts import attempt_folder
from sweeper.execution.state.status import Status
from sweeper.trials import TrialConfig

# The trial that hangs three times comes first: meanwhile the other worker has the other faults.
TRIALS, HANG_SECONDS, SILENT_SECONDS = 9, 4, 8
FAULTS = {
    "CURVE_STEP_SECONDS": "0.002",
    "CURVE_AT_RUNG": "1:1:3:hang,2:1:1:stop,4:1:1:raise,5:1:1:hang",
    "CURVE_DIVERGES": "3:1",
    "CURVE_MEMORY": "4:8",
    "SWEEPER_HANG_SECONDS": str(HANG_SECONDS),
    "SWEEPER_SILENT_SECONDS": str(SILENT_SECONDS),
}
JUMPING_CLOCK = """
import random, time
_real = time.time
time.time = lambda: _real() + random.choice((-86400, 0, 86400))
"""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweeper]:
    folder = tmp_path_factory.mktemp("night")
    (folder / "sitecustomize.py").write_text(JUMPING_CLOCK)
    made = Sweeper(folder / "runs" / "run")
    made.strategies = "full,head"
    with ended_after(made):
        code, _, errors = made.ended_apart(TRIALS, 2, PYTHONPATH=f"{folder}:{PATHS}", **FAULTS)
        assert code == 0, errors
        yield made


def attempts(night: Sweeper, trial: int) -> tuple[int, str]:
    row = night.table()[trial]
    return int(row["attempts"]), row["ended_attempts"]


def test_the_run_reaches_its_total_and_leaves_nothing_running(night: Sweeper) -> None:
    check_whole(night, TRIALS)
    assert Status.read(night.run.status).done == TRIALS
    assert not night.workers()


def test_a_hang_costs_one_attempt_with_the_reason_and_a_stack_in_the_log(night: Sweeper) -> None:
    number, why = attempts(night, 5)
    assert number == 2
    assert why.startswith("1: hang (training made no step within")
    logs = "".join((night.folder / f"worker-{n}.log").read_text() for n in (0, 1))
    assert "faults.py" in logs
    assert "in at_rung" in logs


def test_a_process_that_cannot_even_beat_is_ended_by_the_command(night: Sweeper) -> None:
    number, why = attempts(night, 2)
    assert (number, why) == (
        2,
        f"1: crash (its worker sent no message for {SILENT_SECONDS} s)",
    )


def test_an_exception_costs_one_attempt_with_its_last_line(night: Sweeper) -> None:
    assert attempts(night, 4) == (2, "1: error (RuntimeError: the accelerator fell off the bus)")


def test_three_hangs_end_the_trial_as_timed_out(night: Sweeper) -> None:
    row = night.table()[1]
    assert (row["state"], row["failure"], row["attempts"]) == ("FAIL", "timeout", "3")


def test_a_loss_that_is_no_number_ends_the_trial_at_once_as_diverged(night: Sweeper) -> None:
    row = night.table()[3]
    assert (row["state"], row["failure"], row["attempts"]) == ("FAIL", "diverged", "1")


def test_jumping_clocks_neither_stole_a_live_trial_nor_kept_a_dead_one(night: Sweeper) -> None:
    more_than_once = {number for number in range(TRIALS) if attempts(night, number)[0] > 1}
    assert more_than_once == {1, 2, 4, 5}


def test_too_little_memory_teaches_the_trials_that_come_after(night: Sweeper) -> None:
    table = night.table()
    configs = {
        number: TrialConfig.read(night.run.trial(number) / "config.json") for number in table
    }
    full = [number for number in table if table[number]["strategy"] == "full"]
    found_out = [n for n in full if "tried again down to" in table[n]["memory_note"]]
    taught = [n for n in full if "memory ran out in trial" in table[n]["memory_note"]]
    assert found_out
    assert taught
    for number in taught:
        config = configs[number]
        assert config.setup.micro_batch <= 4 or "micro-batch" not in config.memory_note
        assert config.setup.evaluation_batch <= 8 or "evaluation batch" not in config.memory_note
        effective = config.setup.micro_batch * config.setup.gradient_accumulation_steps
        assert effective == config.parameters["per_device_train_batch_size"]
    findings = json.loads((night.folder / "findings.json").read_text())
    limits = {limit["id"]: limit["text"] for limit in findings["limits"]}
    assert "more memory than predicted" in limits["memory-full"]


def test_the_folder_of_an_attempt_says_why_it_ended(night: Sweeper) -> None:
    end: Path = attempt_folder(night.run.trial(5), 1) / "ended.json"
    assert json.loads(end.read_text())["kind"] == "hang"
