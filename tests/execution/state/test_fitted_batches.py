from __future__ import annotations

from pathlib import Path

import pytest
from configs import config_of
from curve_backend import make_plan

from sweeper.execution.state import attempts
from sweeper.execution.state.fitted_batches import FittedBatches, after_kill, lessons_of
from sweeper.trials import AttemptEndKind, TrialConfig, TrialResult


def a_config(**fields: object) -> TrialConfig:
    plan = make_plan()
    candidate = plan.candidate("lora")
    made = config_of(plan, candidate, candidate.defaults(), number=1, attempt=1, origin="search")
    return made.model_copy(update={"micro_batch": 8, "gradient_accumulation_steps": 2, **fields})


def tried(home: Path, *, end: AttemptEndKind | None = None, **fitted: int) -> Path:
    """A trial of one attempt, which ended so, or with a result of these batches."""
    attempt = attempts.new_attempt(home)
    config = a_config(attempt=attempt)
    attempts.begin(home, config)
    folder = attempts.attempt_folder(home, attempt)
    if end is not None:
        attempts.note_end(folder, end, "why")
    result = {"number": 0, "attempt": attempt, "seed": 0, "state": "COMPLETE", **fitted}
    TrialResult.model_validate(result | {"validation_loss": 0.5}).write(folder / "result.json")
    return home


def taught_by(*homes: Path) -> FittedBatches:
    fitted = FittedBatches()
    for number, home in enumerate(homes):
        fitted.read(f"trial {number}", home)
    return fitted


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
    tmp_path: Path,
    fitted: dict[str, int],
    micro: int,
    accumulation: int,
    evaluation: int,
    note: str,
) -> None:
    config = taught_by(tried(tmp_path, **fitted)).apply(a_config())
    assert config.micro_batch == micro
    assert config.gradient_accumulation_steps == accumulation
    assert config.evaluation_batch == evaluation
    assert config.memory_note.startswith(note)
    assert bool(config.memory_note) == bool(note)


def test_evaluation_that_ran_out_says_nothing_about_the_micro_batch(tmp_path: Path) -> None:
    home = tmp_path / "small"
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
    config = taught_by(home).apply(a_config())
    assert (config.micro_batch, config.evaluation_batch) == (8, 8)


def test_another_set_up_learns_nothing_from_it(tmp_path: Path) -> None:
    fitted = taught_by(tried(tmp_path, micro_batch=1))
    other = a_config(parameters={**a_config().parameters, "r": 128})
    assert fitted.apply(other) == other


def test_the_smallest_batches_count_and_all_teachers_are_named(tmp_path: Path) -> None:
    homes = [
        tried(tmp_path / "0", micro_batch=4, evaluation_batch=16),
        tried(tmp_path / "1", end="out-of-memory"),
        tried(tmp_path / "2", micro_batch=2),
    ]
    config = taught_by(*homes).apply(a_config())
    assert (config.micro_batch, config.evaluation_batch) == (2, 16)
    assert config.memory_note == (
        "micro-batch 2 instead of 8 and evaluation batch 16 instead of 32: memory ran out in "
        "trial 0, trial 2 and the system killed trial 1 because memory ran out"
    )


def test_a_trial_is_named_once_however_often_it_is_read(tmp_path: Path) -> None:
    fitted = taught_by(tried(tmp_path, micro_batch=4))
    fitted.read("trial 0", tmp_path)
    assert fitted.apply(a_config()).memory_note.endswith("memory ran out in trial 0")


def test_attempts_that_ended_otherwise_teach_nothing(tmp_path: Path) -> None:
    ends: tuple[AttemptEndKind, ...] = ("crash", "hang", "interrupted", "damaged", "error")
    for number, end in enumerate(ends):
        assert list(lessons_of(tried(tmp_path / str(number), end=end, micro_batch=1))) == []
    (tmp_path / "attempts" / "1").mkdir(parents=True)  # killed before anything was written
    assert list(lessons_of(tmp_path)) == []


def test_the_next_try_takes_half_of_both_batches_until_there_is_nothing_to_halve() -> None:
    config = a_config(micro_batch=8, evaluation_batch=32)
    sizes = []
    while (learned := after_kill(config)) is not None:
        sizes.append((learned.micro, learned.evaluation))
        config = config.model_copy(
            update={"micro_batch": learned.micro, "evaluation_batch": learned.evaluation}
        )
    assert sizes == [(4, 16), (2, 8), (1, 4), (1, 2), (1, 1)]
