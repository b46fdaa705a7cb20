from __future__ import annotations

from pathlib import Path

import pytest
from configs import config_of
from curve_backend import make_plan

from sweeper.execution.state import attempts
from sweeper.execution.state.reduced_batches import ReducedBatches, smaller_batches
from sweeper.facts.record import TrainingSetup
from sweeper.runfolder import RunFolder
from sweeper.trials import AttemptEndKind, TrialConfig, TrialResult


def a_config(**fields: object) -> TrialConfig:
    plan = make_plan()
    candidate = plan.candidate("lora")
    made = config_of(plan, candidate, candidate.defaults(), number=1, attempt=1, origin="search")
    batches = {"micro_batch": 8, "gradient_accumulation_steps": 2}
    batches |= {name: fields.pop(name) for name in TrainingSetup.model_fields if name in fields}
    return made.with_setup(**batches).model_copy(update=fields)


def tried(
    run: RunFolder,
    number: int = 0,
    *,
    end: AttemptEndKind | None = None,
    below: str = "",
    **fitted: int,
) -> ReducedBatches:
    """A trial of one attempt, which ended so, or with a result of these batches."""
    home = run.trial(number) / below
    config = a_config(attempt=attempts.new_attempt(home), number=number)
    attempts.begin(home, config)
    folder = attempts.attempt_folder(home, config.attempt)
    if end is not None:
        attempts.note_end(folder, end, "why")
    result = {"number": number, "attempt": 1, "seed": 0, "state": "COMPLETE", **fitted}
    TrialResult.model_validate(result | {"validation_loss": 0.5}).write(folder / "result.json")
    return ReducedBatches(run)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.mark.parametrize("below", ["seeds/1", "rows/1/400", "all-rows/1/400"])
def test_trainings_of_a_trial_on_other_seeds_and_rows_teach_too(run: RunFolder, below: str) -> None:
    assert tried(run, below=below, micro_batch=2).apply(a_config()).setup.micro_batch == 2


@pytest.mark.parametrize(
    ("fitted", "micro", "accumulation", "evaluation", "note"),
    [
        ({}, 8, 2, 32, ""),
        ({"micro_batch": 8, "evaluation_batch": 32}, 8, 2, 32, ""),
        ({"micro_batch": 2, "evaluation_batch": 32}, 2, 8, 32, "micro-batch 2 instead of 8"),
        ({"micro_batch": 8, "evaluation_batch": 4}, 8, 2, 4, "evaluation batch 4 instead of 32"),
        ({"micro_batch": 3}, 2, 8, 32, "micro-batch 2 instead of 8"),
    ],
)
def test_the_next_attempt_at_a_set_up_starts_where_an_earlier_one_fitted(
    run: RunFolder,
    fitted: dict[str, int],
    micro: int,
    accumulation: int,
    evaluation: int,
    note: str,
) -> None:
    config = tried(run, **fitted).apply(a_config())
    assert config.setup.micro_batch == micro
    assert config.setup.gradient_accumulation_steps == accumulation
    assert config.setup.evaluation_batch == evaluation
    assert config.memory_note.startswith(note)
    assert bool(config.memory_note) == bool(note)


def test_evaluation_that_ran_out_says_nothing_about_the_micro_batch(run: RunFolder) -> None:
    home = run.seed(0, 1)
    attempts.begin(home, a_config(attempt=attempts.new_attempt(home), micro_batch=4))
    result = TrialResult(
        number=0,
        attempt=1,
        seed=0,
        state="COMPLETE",
        validation_loss=0.5,
        micro_batch=4,
        evaluation_batch=8,
    )
    result.write(attempts.attempt_folder(home, 1) / "result.json")
    config = ReducedBatches(run).apply(a_config())
    assert (config.setup.micro_batch, config.setup.evaluation_batch) == (8, 8)


def test_another_set_up_learns_nothing_from_it(run: RunFolder) -> None:
    fitted = tried(run, micro_batch=1)
    other = a_config(parameters={**a_config().parameters, "r": 128})
    assert fitted.apply(other) == other


def test_the_smallest_batches_count_and_all_teachers_are_named(run: RunFolder) -> None:
    fitted = tried(run, 0, micro_batch=4, evaluation_batch=16)
    assert fitted.apply(a_config()).memory_note.endswith("memory ran out in trial 0")
    tried(run, 1, end="out-of-memory")
    tried(run, 2, micro_batch=2)
    config = fitted.apply(a_config())
    assert (config.setup.micro_batch, config.setup.evaluation_batch) == (2, 16)
    assert config.memory_note == (
        "micro-batch 2 instead of 8 and evaluation batch 16 instead of 32: memory ran out in "
        "trial 0, trial 2 and the system killed trial 1 because memory ran out"
    )


def test_an_attempt_counts_once_it_has_ended(run: RunFolder) -> None:
    home, fitted = run.trial(0), ReducedBatches(run)
    attempts.begin(home, a_config(attempt=attempts.new_attempt(home), number=0))
    assert fitted.apply(a_config()).setup.micro_batch == 8
    attempts.note_end(attempts.attempt_folder(home, 1), "out-of-memory", "why")
    assert fitted.apply(a_config()).setup.micro_batch == 4


def test_attempts_that_ended_otherwise_teach_nothing(run: RunFolder) -> None:
    ends: tuple[AttemptEndKind, ...] = ("crash", "hang", "interrupted", "damaged", "error")
    for number, end in enumerate(ends):
        assert tried(run, number, end=end, micro_batch=1).apply(a_config()) == a_config()
    (run.trial(9) / "attempts" / "1").mkdir(parents=True)  # killed before anything was written
    assert ReducedBatches(run).apply(a_config()) == a_config()


def test_the_next_try_takes_half_of_both_batches_until_there_is_nothing_to_halve() -> None:
    config = a_config(micro_batch=8, evaluation_batch=32)
    sizes = []
    while (learned := smaller_batches(config)) is not None:
        sizes.append((learned.micro, learned.evaluation))
        config = config.with_setup(micro_batch=learned.micro, evaluation_batch=learned.evaluation)
    assert sizes == [(4, 16), (2, 8), (1, 4), (1, 2), (1, 1)]
