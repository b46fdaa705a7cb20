"""What the next call makes of what an earlier one left: in files, in the storage, in neither."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from curve_backend import make_plan, make_spec
from fake_pool import Sweep, dies, does_well, folder, make_sweep, write_result
from optuna.trial import FrozenTrial, TrialState

from sweeper.errors import RunError
from sweeper.execution.job import Job
from sweeper.execution.next_attempt import next_attempt
from sweeper.execution.restore import restore
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.fitted_batches import FittedBatches
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.status import Status
from sweeper.execution.storages import open_storage
from sweeper.plans import Plan
from sweeper.search.search import Search, known_starts
from sweeper.spec import OwnTrial
from sweeper.trials import TrialConfig, TrialResult


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    return make_sweep(tmp_path, monkeypatch)


def stored(sweep: Sweep) -> list[FrozenTrial]:
    storage = open_storage(f"journal:{sweep.run.path}/study.log")
    return optuna.load_study(study_name="run", storage=storage).trials


def shown(sweep: Sweep) -> list[tuple[object, ...]]:
    return [(t.state, t.value, t.params, t.intermediate_values) for t in stored(sweep)]


def forget_the_storage(sweep: Sweep) -> None:
    (sweep.run.path / "study.log").unlink()


def again(sweep: Sweep, trials: int) -> list[str]:
    """The names of the trials that the next call trains."""
    sweep.pool.jobs.clear()
    assert sweep.go(trials).kind == "complete"
    return [job.name for job in sweep.pool.jobs if job.kind == "trial"]


def configs(sweep: Sweep, trials: int) -> list[TrialConfig]:
    return [TrialConfig.read(sweep.run.trial(number) / "config.json") for number in range(trials)]


def test_a_lost_storage_is_written_anew_from_the_files(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-1": dies()}
    sweep.go(4)
    before = shown(sweep)
    forget_the_storage(sweep)
    assert again(sweep, 4) == []
    assert shown(sweep) == before
    assert [trial.state.name for trial in stored(sweep)].count("FAIL") == 1


def test_a_trial_whose_files_are_gone_is_taken_from_the_storage(sweep: Sweep) -> None:
    sweep.go(4)
    before, kept = shown(sweep), configs(sweep, 4)
    state = stored(sweep)[3].state.name
    shutil.rmtree(sweep.run.trial(3))
    assert again(sweep, 4) == []
    assert shown(sweep) == before
    result = sweep.result(3)
    assert result.state == state
    assert configs(sweep, 4)[3].parameters == kept[3].parameters
    assert sweep.said("warning") == [
        "trial 3: result.json was missing and has been restored from the study, which has "
        "only its loss"
    ]


def test_a_whole_result_that_the_study_does_not_know_is_told_at_the_next_start(
    sweep: Sweep,
) -> None:
    sweep.go(2)
    # As a command leaves it that is killed once its worker has ended the third trial.
    _, search, state = opened(sweep, 3)
    asked = search.ask()
    state.asked[2] = asked
    job = next_attempt(state, FittedBatches(), work_items.trial(2)).job
    write_result(sweep.run, job)
    assert len(stored(sweep)) == 2
    assert again(sweep, 3) == []
    assert stored(sweep)[2].value == sweep.result(2).validation_loss
    assert (sweep.run.trial(2) / "weights").is_dir() == bool(sweep.result(2).weights)
    assert Status.read(sweep.run.status).complete == 3


def opened(sweep: Sweep, trials: int) -> tuple[list[int], Search, RunState]:
    """The run as a further command finds it, with what is to be tried again."""
    plan = Plan.read(sweep.run.plan)
    search = Search(plan, tuple(known_starts(plan, trials)))
    state = RunState(sweep.run, plan)
    there = (sweep.run.path / "study.log").exists()
    known = stored(sweep) if there else []
    return restore(state, search, known, lambda _text: None), search, state


@pytest.mark.parametrize("lost", [1, 4])
def test_a_trial_of_which_nothing_is_left_gets_the_same_configuration(
    sweep: Sweep, lost: int
) -> None:
    sweep.go(5)
    before = configs(sweep, 5)
    shutil.rmtree(sweep.run.trial(lost))
    sweep.run.trial(lost).mkdir()  # a number that was used stays used
    forget_the_storage(sweep)
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
    forget_the_storage(sweep)
    assert again(sweep, 2) == []
    assert sweep.result(1).failure == result.failure
    assert all(trial.state.is_finished() for trial in stored(sweep))
    assert Status.read(sweep.run.status).done == 2


def test_a_storage_with_more_or_other_trials_than_the_files_is_written_anew(
    sweep: Sweep,
) -> None:
    sweep.go(2)
    before = shown(sweep)
    storage = open_storage(f"journal:{sweep.run.path}/study.log")
    study = optuna.load_study(study_name="run", storage=storage)
    study.enqueue_trial({})
    assert again(sweep, 2) == []
    assert shown(sweep) == before
    assert "is written anew" in sweep.said("warning")[0]


def test_a_configuration_that_is_damaged_is_brought_back(sweep: Sweep) -> None:
    sweep.go(3)
    before = configs(sweep, 3)
    (sweep.run.trial(1) / "config.json").write_text("{")
    for path in (sweep.run.trial(2), sweep.run.attempt(2, 1)):
        (path / "config.json").write_bytes(b"\0\0")
    assert again(sweep, 3) == []
    after = configs(sweep, 3)
    assert after[1] == before[1]
    assert after[2].parameters == before[2].parameters


def test_the_users_own_values_outside_of_the_ranges_survive_a_resume(sweep: Sweep) -> None:
    own = OwnTrial(strategy="lora", parameters={"learning_rate": 0.5, "lora_dropout": 0.2})
    plan = make_plan(4, strategies="lora").model_copy(update={"own_trials": (own,)})
    sweep.go(2, plan)
    before = shown(sweep)
    forget_the_storage(sweep)
    assert again(sweep, 2) == []
    assert shown(sweep) == before
    assert configs(sweep, 2)[1].parameters["learning_rate"] == 0.5
    assert again(sweep, 3) == ["trial-2"]


def test_rungs_of_a_trial_that_is_tried_again_do_not_count(sweep: Sweep) -> None:
    sweep.pool.parts = {"trial-1/1": dies(5, lost=True)}
    sweep.go(2)
    (sweep.run.trial(1) / "result.json").unlink()
    attempts.note_end(sweep.run.attempt(1, 2), "interrupted", "x")
    forget_the_storage(sweep)
    unfinished, search, state = opened(sweep, 2)
    assert unfinished == [1]
    assert search.trial(1).intermediate_values == {}
    assert search.trial(1).state == TrialState.RUNNING
    assert {number for losses in state._losses.values() for number in losses} == {0}


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


def test_an_old_runs_folder_goes_on(sweep: Sweep) -> None:
    """Of the version that kept a queue in the storage and jobs' attempts beside each other."""
    sweep.go(3)
    kept = {number: sweep.result(number) for number in range(3)}
    run = sweep.run
    (run.path / "jobs" / "baselines" / "scored.txt").unlink()
    for job in (run.path / "jobs").iterdir():
        for attempt in (job / "attempts").iterdir():
            attempt.rename(job / attempt.name)
        (job / "attempts").rmdir()
    run.status.write_text('{"schema_version": 1, "phase": "search", "unknown": 7}')
    storage = open_storage(f"journal:{run.path}/study.log")
    study = optuna.load_study(study_name="run", storage=storage)
    for _ in range(3):
        study.enqueue_trial({}, user_attrs={"sweeper:slot": "search"})
    optuna.create_study(study_name="run/jobs", storage=storage)
    assert again(sweep, 6) == ["trial-3", "trial-4", "trial-5"]
    assert {number: sweep.result(number) for number in range(3)} == kept
    assert len(stored(sweep)) == 6
    assert all(trial.state.is_finished() for trial in stored(sweep))


def test_a_new_run_does_not_take_over_the_study_of_an_earlier_one_of_its_name(
    sweep: Sweep,
) -> None:
    url = f"journal:{sweep.run.path.parent}/shared.log"
    sweep.go(2, storage=url)
    sweep.run.path.rename(sweep.run.path.with_name("run.1"))  # as --new does
    sweep.run.path.mkdir()
    with pytest.raises(RunError, match="another study named 'run'") as caught:
        sweep.go(2, storage=url)
    assert "from another run's folder" in str(caught.value)
    assert sweep.go(2).kind == "complete"  # in a storage of its own
    shutil.rmtree(sweep.run.path)
    sweep.run.path.with_name("run.1").rename(sweep.run.path)
    assert sweep.go(3, storage=url).status.done == 3


def test_a_spec_and_a_plan_of_the_run_need_not_agree_on_the_total(sweep: Sweep) -> None:
    assert make_spec(3).search.trials == 3
    sweep.go(1, make_plan(20))
    assert again(sweep, 2) == ["trial-1"]
