"""What the next call makes of the files that an earlier one left."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from curve_backend import make_plan, make_spec
from fake_pool import Sweep, dies, does_well, folder, make_sweep, write_result
from optuna.trial import TrialState

from sweeper.execution.coordinator import restore
from sweeper.execution.job import Job
from sweeper.execution.next_attempt import configure, next_attempt
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.attempts import attempt_folder
from sweeper.execution.state.reduced_batches import ReducedBatches
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.status import Status
from sweeper.plans import Configuration, Plan
from sweeper.search.search import Search, first_trials
from sweeper.trials import TrialConfig, TrialResult


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return make_sweep(tmp_path, monkeypatch)


def shown(sweep: Sweep) -> list[tuple[object, ...]]:
    return [(t.state, t.value, t.params, t.intermediate_values) for t in sweep.stored]


def again(sweep: Sweep, trials: int) -> list[str]:
    """The names of the trials that the next call trains."""
    sweep.pool.jobs.clear()
    assert sweep.go(trials).kind == "complete"
    return [job.name for job in sweep.pool.jobs if job.kind == "trial"]


def configs(sweep: Sweep, trials: int) -> list[TrialConfig]:
    return [TrialConfig.read(sweep.run.trial(number) / "config.json") for number in range(trials)]


def test_a_run_that_is_complete_has_nothing_to_train(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-1": dies()}
    sweep.go(4)
    before = shown(sweep)
    assert again(sweep, 4) == []
    assert shown(sweep) == before
    assert [trial.state.name for trial in sweep.stored].count("FAIL") == 1


def test_a_whole_result_that_nobody_took_is_told_at_the_next_start(
    sweep: Sweep,
) -> None:
    sweep.go(2)
    # As a command leaves it that is killed once its worker has ended the third trial.
    _, search, state = opened(sweep, 3)
    state.configs[2] = configure(state.plan, search.ask())
    job = next_attempt(state, ReducedBatches(state.run), work_items.trial(2))
    write_result(sweep.run, job)
    assert again(sweep, 3) == []
    assert sweep.stored[2].value == sweep.result(2).validation_loss
    assert (sweep.run.trial(2) / "weights").is_dir() == bool(sweep.result(2).weights)
    assert Status.read(sweep.run.status).complete == 3


def opened(sweep: Sweep, trials: int) -> tuple[list[int], Search, RunState]:
    """The run as a further command finds it, with what is to be tried again."""
    plan = Plan.read(sweep.run.plan)
    search = Search(plan, tuple(first_trials(plan, trials)))
    state = RunState(sweep.run, plan)
    return restore(state, search, lambda _text: None), search, state


@pytest.mark.parametrize("lost", [1, 4])
def test_a_trial_of_which_nothing_is_left_gets_the_same_configuration(
    sweep: Sweep, lost: int
) -> None:
    sweep.go(5)
    before = configs(sweep, 5)
    shutil.rmtree(sweep.run.trial(lost))
    sweep.run.trial(lost).mkdir()  # a number that was used stays used
    assert again(sweep, 5) == [f"trial-{lost}"]
    assert [one.parameters for one in configs(sweep, 5)] == [one.parameters for one in before]
    assert [one.origin for one in configs(sweep, 5)] == [one.origin for one in before]


def test_a_trial_that_crashed_three_times_has_failed_though_nobody_wrote_it_down(
    sweep: Sweep,
) -> None:
    sweep.pool.parts = {"trial-1": dies()}
    sweep.go(2)
    result = sweep.result(1)
    (sweep.run.trial(1) / "result.json").unlink()
    assert again(sweep, 2) == []
    assert sweep.result(1).failure == result.failure
    assert all(trial.state.is_finished() for trial in sweep.stored)
    assert Status.read(sweep.run.status).done == 2


def test_a_configuration_that_is_damaged_is_brought_back(sweep: Sweep) -> None:
    sweep.go(3)
    before = configs(sweep, 3)
    (sweep.run.trial(1) / "config.json").write_text("{")
    assert again(sweep, 3) == []
    assert configs(sweep, 3) == before
    for path in (sweep.run.trial(2), attempt_folder(sweep.run.trial(2), 1)):
        (path / "config.json").write_bytes(b"\0\0")
    assert again(sweep, 3) == ["trial-2"]
    after = configs(sweep, 3)
    assert after[1] == before[1]
    assert after[2].parameters == before[2].parameters


def test_the_users_own_values_outside_of_the_ranges_survive_a_resume(sweep: Sweep) -> None:
    own = Configuration(
        origin="user", strategy="lora", parameters={"learning_rate": 0.5, "lora_dropout": 0.2}
    )
    plan = make_plan(4, strategies="lora").model_copy(update={"own_trials": (own,)})
    sweep.go(2, plan)
    before = shown(sweep)
    assert again(sweep, 2) == []
    assert shown(sweep) == before
    assert configs(sweep, 2)[1].parameters["learning_rate"] == 0.5
    assert again(sweep, 3) == ["trial-2"]


def test_rungs_of_a_trial_that_is_tried_again_do_not_count(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-1/1": dies(5, lost=True)}
    sweep.go(2)
    (sweep.run.trial(1) / "result.json").unlink()
    attempts.note_end(attempt_folder(sweep.run.trial(1), 2), "interrupted", "x")
    unfinished, search, _state = opened(sweep, 2)
    assert unfinished == [1]
    assert search.seen()[1].reported == {}
    assert search.study.trials[1].intermediate_values == {}
    assert search.study.trials[1].state == TrialState.RUNNING


def test_lessons_about_memory_outlive_the_command(sweep: Sweep) -> None:
    def halves(run, job: Job):
        said = list(does_well(run, job)) if job.kind == "baselines" else None
        yield from said or trains_with(run, job, 4)

    sweep.pool.parts = {f"trial-{n}": halves for n in range(3)}
    sweep.go(1, make_plan(1, strategies="full"))
    again(sweep, 3)
    notes = [one.memory_note for one in configs(sweep, 3)]
    assert notes == ["", *["micro-batch 4 instead of 8: memory ran out in trial 0"] * 2]


def trains_with(run, job: Job, micro: int):
    part = does_well(run, job)
    answer = None
    while True:
        try:
            said = part.send(answer)
        except StopIteration:
            return
        path = folder(run, job) / attempts.RESULT
        if path.is_file():
            known = TrialResult.read(path)
            known.model_copy(update={"micro_batch": micro}).write(path)
        answer = yield said


def test_a_spec_and_a_plan_of_the_run_need_not_agree_on_the_total(sweep: Sweep) -> None:
    assert make_spec(3).search.trials == 3
    sweep.go(1, make_plan(20))
    assert again(sweep, 2) == ["trial-1"]
