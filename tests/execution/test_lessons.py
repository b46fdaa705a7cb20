from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import optuna
import pytest
from curve_backend import make, make_plan, make_spec
from optuna.trial import FrozenTrial
from sweeper.execution.bench import Bench
from sweeper.execution.claims import Queue
from sweeper.execution.lessons import FITTED, apply, attribute, lesson
from sweeper.execution.slots import top_up
from sweeper.execution.trial import run_trial
from sweeper.search.storage import open_storage

from sweeper.runfolder import RunFolder
from sweeper.search.configure import configure
from sweeper.search.named import make_pruner, make_sampler
from sweeper.search.study import create_study
from sweeper.trials import TrialConfig, TrialResult


def a_config(**fields: object) -> TrialConfig:
    plan = make_plan()
    candidate = plan.candidate("lora")
    made = configure(plan, candidate, candidate.defaults(), number=1, attempt=1, origin="search")
    return made.model_copy(update={"micro_batch": 8, "gradient_accumulation_steps": 2, **fields})


def a_result(**fields: object) -> TrialResult:
    base = {"number": 0, "attempt": 1, "seed": 0, "state": "COMPLETE", "validation_loss": 0.5}
    return TrialResult.model_validate({**base, **fields})


def taught_by(config: TrialConfig, result: TrialResult) -> list[FrozenTrial]:
    learned = lesson(config, result)
    attributes = {} if learned is None else {FITTED: attribute(learned)}
    return [optuna.trial.create_trial(value=0.5, user_attrs=attributes)]


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
def test_the_next_trial_of_a_set_up_starts_where_the_last_one_fitted(
    fitted: dict[str, int], micro: int, accumulation: int, evaluation: int, note: str
) -> None:
    config = apply(a_config(), taught_by(a_config(), a_result(**fitted)))
    assert config.micro_batch == micro
    assert config.gradient_accumulation_steps == accumulation
    assert config.evaluation_batch == evaluation
    assert config.memory_note.startswith(note)
    assert bool(config.memory_note) == bool(note)


def test_another_set_up_learns_nothing_from_it() -> None:
    trials = taught_by(a_config(), a_result(micro_batch=1))
    other = a_config(parameters={**a_config().parameters, "r": 128})
    assert apply(other, trials) == other


def test_a_worker_holds_no_more_after_twelve_trials_than_after_four(tmp_path: Path) -> None:
    run, plan, spec = RunFolder(tmp_path), make_plan(12), make_spec(12)
    storage = open_storage(f"journal:{tmp_path}/study.log")
    queue = Queue(storage, create_study(storage, "s"))
    top_up(queue, plan, 12)
    backend = make(run, plan, spec)
    bench = Bench(run, plan, queue, queue, backend, lambda: False, "h/1/0", "0", lambda _e: None)
    queue.study.sampler, queue.study.pruner = (
        make_sampler("sweeper", plan, 0),
        make_pruner("sweeper", plan),
    )
    counts = []
    for number in range(12):
        claim = queue.claim("h/1/0")
        assert claim is not None
        run_trial(bench, claim)
        del claim
        if number in (3, 11):
            counts.append(held())
    assert counts[0] == counts[1]


def held() -> Counter[str]:
    """Live objects of the worker's own kinds."""
    gc.collect()
    kinds = ("Attempt", "Reporter", "Claim", "Heartbeat", "Watchdog", "Pulse", "TrialConfig")
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one).__name__ in kinds)
