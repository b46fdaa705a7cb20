"""One set-up of training: plans, trials, measurements and the memory formula share its fields."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.execution.next_attempt import configure
from sweeper.facts.record import Measured, TrainingSetup
from sweeper.memory.setup import Setup
from sweeper.planning.costs.setups import candidate_setup, measured_setup
from sweeper.planning.planner import make_plan
from sweeper.plans import Candidate, Configuration


@pytest.mark.parametrize("kind", [Candidate, Measured, Setup])
def test_fields_of_a_training_set_up_are_declared_once(kind: type[TrainingSetup]) -> None:
    assert issubclass(kind, TrainingSetup)
    assert not TrainingSetup.model_fields.keys() & kind.__annotations__.keys()


def test_a_trial_its_measurement_and_its_formula_have_one_key(scene: Any) -> None:
    plan = make_plan(*scene(model="minilm", task="classification", gpu_gib=None))
    candidate = plan.candidates[0]
    parameters = candidate.defaults()
    trial = Configuration(
        number=0, strategy=candidate.strategy, model=candidate.model, parameters=parameters
    )
    config = configure(plan, trial)
    measured = Measured.taken_from(
        config.setup,
        strategy=config.strategy,
        shape="",
        mean_length=config.setup.sequence_length,
        when="2026-12-01",
    )
    formula = candidate_setup(candidate, parameters, config.setup.sequence_length, 3, "cpu")
    again = measured_setup(measured, 3, "cpu")
    keys = {
        TrainingSetup.taken_from(each).key() for each in (config.setup, measured, formula, again)
    }
    assert len(keys) == 1
    other = config.with_setup(micro_batch=config.setup.micro_batch + 1).setup
    assert other.key() not in keys
    assert other.key("micro_batch") == config.setup.key("micro_batch")
