from __future__ import annotations

from pathlib import Path

import pytest
from configs import config_of
from curve_backend import ITEMS, make_plan
from fake_pool import make_checkpoint
from hypothesis import given
from hypothesis import strategies as st

from sweeper.execution.job import Job
from sweeper.execution.next_attempt import (
    configure,
    next_attempt,
    rung_items,
)
from sweeper.execution.state import attempts, work_items
from sweeper.execution.state.attempts import attempt_folder
from sweeper.execution.state.reduced_batches import ReducedBatch, ReducedBatches, setup_of
from sweeper.execution.state.run_state import RunState
from sweeper.hyperparameters import split_batch
from sweeper.plans import Duration
from sweeper.runfolder import RUNGS, RunFolder
from sweeper.search.search import Search, first_trials
from sweeper.trials import AttemptEndKind, RungReport, TrialConfig

TRIAL = work_items.trial(1)


@pytest.fixture
def state(tmp_path: Path) -> RunState:
    plan = make_plan(9)
    made, search = RunState(RunFolder(tmp_path), plan), Search(plan, tuple(first_trials(plan, 9)))
    for number in range(2):
        made.configs[number] = configure(plan, search.ask())
    return made


def saves(folder: Path, rung: int) -> None:
    """Training saved a checkpoint in an attempt's folder."""
    config = TrialConfig.read(folder / "config.json")
    job = Job(kind="trial", name="trial-1", trial=1, attempt=config.attempt, config=config)
    said = RungReport.read_lines(folder / RUNGS)[:rung]
    make_checkpoint(RunFolder(folder.parents[3]), job, said)


def begin(state: RunState, item: work_items.WorkItem = TRIAL) -> Job:
    return next_attempt(state, ReducedBatches(state.run), item)


def breaks_off(
    state: RunState, number: int, rungs: int, end: AttemptEndKind = "interrupted"
) -> Path:
    """Attempt ``number`` reports, and ends without a result."""
    home = state.run.trial(1)
    known = RungReport.read_lines(attempt_folder(home, number) / RUNGS)
    for rung in range(len(known) + 1, rungs + 1):
        report = RungReport(
            number=1, attempt=number, rung=rung, validation_loss=number + rung / 10, items=1,
            optimizer_steps=rung, epochs=1, tokens=1, training_seconds=1, evaluation_seconds=1,
        )  # fmt: skip
        attempts.add_rung(home, report)
    folder = attempt_folder(home, number)
    attempts.note_end(folder, end, "why")
    return folder


def test_the_first_attempt_is_what_was_asked_for(state: RunState) -> None:
    made = begin(state)
    assert made.rungs == ()
    assert made.folder == "trials/1/attempts/1"
    config = made.config
    assert config is not None
    assert (config.number, config.attempt, config.seed) == (1, 1, state.plan.seed)
    assert config.parameters == state.configs[1].parameters
    assert TrialConfig.read(state.run.trial(1) / "config.json") == config
    assert state.configs[1] == config


def test_without_a_checkpoint_the_next_attempt_begins_from_clean_weights(
    state: RunState,
) -> None:
    begin(state)
    breaks_off(state, 1, 3)
    made = begin(state)
    assert (made.attempt, made.checkpoint, made.rungs) == (2, None, ())
    assert RungReport.read_lines(state.run.trial(1) / RUNGS) == []


def test_an_interrupted_attempt_is_continued_with_the_rungs_up_to_its_checkpoint(
    state: RunState,
) -> None:
    begin(state)
    folder = breaks_off(state, 1, 5)
    changed = TrialConfig.read(folder / "config.json").with_setup(micro_batch=4)
    changed.write(folder / "config.json")
    saves(folder, 4)
    made = begin(state)
    assert made.checkpoint == "trials/1/attempts/1/checkpoint-4"
    assert [(one.rung, one.attempt) for one in made.rungs] == [(n, 2) for n in (1, 2, 3, 4)]
    assert [one.validation_loss for one in made.rungs] == [1.1, 1.2, 1.3, 1.4]
    assert RungReport.read_lines(state.run.trial(1) / RUNGS) == list(made.rungs)
    assert made.config == changed.model_copy(update={"attempt": 2})

    # The next one broke off before it saved one of its own: the first one's still counts.
    breaks_off(state, 2, 0)
    assert begin(state).checkpoint == "trials/1/attempts/1/checkpoint-4"
    # It saved one.
    folder = breaks_off(state, 3, 6)
    saves(folder, 6)
    made = begin(state)
    assert made.checkpoint == "trials/1/attempts/3/checkpoint-6"
    assert {one.attempt for one in made.rungs} == {4}


@pytest.mark.parametrize("end", ["crash", "hang", "error", "out-of-memory", "damaged"])
def test_what_was_not_only_interrupted_begins_from_clean_weights(
    state: RunState, end: AttemptEndKind
) -> None:
    begin(state)
    folder = breaks_off(state, 1, 5, end)
    saves(folder, 4)
    assert begin(state).checkpoint is None


def test_a_checkpoint_whose_configuration_is_lost_is_not_continued(
    state: RunState,
) -> None:
    begin(state)
    folder = breaks_off(state, 1, 5)
    saves(folder, 4)
    (folder / "config.json").write_text("{")
    assert begin(state).checkpoint is None


def test_batches_that_fitted_are_used(state: RunState) -> None:
    config = begin(state).config
    assert config is not None
    lesson = ReducedBatch(setup_of(config), 0, 2, 16)
    fitted = ReducedBatches(state.run, {attempt_folder(state.run.trial(0), 1): lesson})
    smaller = next_attempt(state, fitted, work_items.trial(1)).config
    assert smaller is not None
    assert (smaller.setup.micro_batch, smaller.setup.evaluation_batch) == (2, 16)


def test_a_confirmation_run_is_the_same_configuration_with_another_seed(state: RunState) -> None:
    trial = begin(state).config
    job = begin(state, work_items.confirm(1, 7))
    assert trial is not None
    assert job.config == trial.model_copy(update={"seed": 7})
    assert (state.run.seed(1, 7) / "config.json").exists()
    assert state.configs[1] == trial


def test_a_score_is_of_the_configuration_that_was_trained(state: RunState) -> None:
    begin(state)
    home = state.run.trial(1)
    trained = TrialConfig.read(home / "config.json").with_setup(micro_batch=1)
    trained.write(home / "config.json")
    job = begin(state, work_items.score_trial(1))
    assert (job.weights, job.folder) == ("trials/1", "jobs/trial-1/attempts/1")
    assert job.config == trained
    assert begin(state, work_items.score_baseline("tfidf")).config is None
    assert begin(state, work_items.BASELINES).folder == "jobs/baselines/attempts/1"


@given(st.integers(1, 512), st.integers(1, 64))
def test_micro_batch_times_accumulation_is_the_effective_batch(batch: int, largest: int) -> None:
    micro, accumulation = split_batch(batch, largest)
    assert micro * accumulation == batch
    assert 1 <= micro <= largest


@pytest.mark.parametrize(
    ("batch", "gpus", "expected"),
    [(16, 1, (8, 2)), (4, 1, (4, 1)), (32, 4, (8, 1)), (2, 4, (1, 1))],
)
def test_the_batch_is_divided_among_gpus_first(
    batch: int, gpus: int, expected: tuple[int, int]
) -> None:
    assert split_batch(batch, 8, gpus) == expected


def test_a_configuration_holds_the_candidates_set_up_and_the_plans_budget() -> None:
    plan = make_plan(seed=7)
    parameters = {"learning_rate": 1e-5, "per_device_train_batch_size": 32, "head_init": "probe"}
    config = config_of(
        plan, plan.candidate("full"), parameters, number=4, attempt=2, origin="search"
    )
    assert (config.number, config.attempt, config.seed, config.origin) == (4, 2, 7, "search")
    assert (config.setup.micro_batch, config.setup.gradient_accumulation_steps) == (8, 4)
    assert config.parameters == parameters
    assert (config.budget.rungs, config.budget.epochs) == (8, 2.0)
    assert config.keep_weights


def test_a_trial_of_fewer_epochs_has_that_part_of_the_budget() -> None:
    plan = make_plan()
    config = config_of(
        plan,
        plan.candidate("lora"),
        {"num_train_epochs": 0.5},
        number=0,
        attempt=1,
        origin="search",
    )
    budget = config.budget
    assert (budget.epochs, budget.rungs, budget.full_tokens) == (0.5, 2, 2500)
    assert budget.rung_items == rung_items(plan)


def test_without_a_batch_parameter_the_candidates_own_batch_is_kept() -> None:
    plan = make_plan()
    config = config_of(plan, plan.candidate("lora"), {}, number=0, attempt=1, origin="search")
    assert (config.setup.micro_batch, config.setup.gradient_accumulation_steps) == (8, 2)


def test_a_rung_scores_what_the_plan_says_or_the_whole_split() -> None:
    plan = make_plan()
    assert rung_items(plan) == ITEMS
    budget = plan.budget.model_copy(update={"rung_items": 12})
    assert rung_items(plan.model_copy(update={"budget": budget})) == 12


@pytest.mark.parametrize(
    ("hours", "epochs", "saves"),
    [(0.4, 2.0, False), (1.0, 2.0, True), (1.0, 0.5, False), (3.0, 0.5, True)],
)
def test_a_trial_of_more_than_half_an_hour_saves_checkpoints(
    hours: float, epochs: float, saves: bool
) -> None:
    plan = make_plan()
    assert plan.budget.epochs == 2.0
    seconds = 3600 * hours
    long = Duration(seconds=seconds, low=seconds / 2, high=2 * seconds)
    candidate = plan.candidate("lora").model_copy(update={"duration": long})
    plan = plan.model_copy(update={"candidates": (candidate,)})
    parameters = {"num_train_epochs": epochs}
    config = config_of(plan, candidate, parameters, number=0, attempt=1, origin="search")
    assert config.checkpoints is saves
