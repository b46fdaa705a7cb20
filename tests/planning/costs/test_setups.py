"""One set-up of training: plans, trials, measurements and the memory formula share its fields."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.artifact import Record
from sweeper.execution.next_attempt import configure
from sweeper.facts.record import Measured, TrainingSetup
from sweeper.memory.setup import Setup
from sweeper.planning.costs.setups import candidate_setup, measured_setup
from sweeper.planning.planner import make_plan
from sweeper.plans import Candidate, Configuration
from sweeper.training.checkpoints import Checkpoint
from sweeper.trials import TrialConfig


@pytest.mark.parametrize("kind", [Candidate, Measured, TrialConfig, Checkpoint])
def test_a_record_with_other_facts_holds_a_training_set_up(kind: type[Record]) -> None:
    assert kind.model_fields["setup"].annotation is TrainingSetup
    assert not TrainingSetup.model_fields.keys() & kind.model_fields.keys()


def test_the_formula_extends_a_training_set_up_without_repeating_a_field() -> None:
    assert issubclass(Setup, TrainingSetup)
    assert not TrainingSetup.model_fields.keys() & Setup.__annotations__.keys()


def test_a_trial_its_measurement_and_its_formula_have_one_key(scene: Any) -> None:
    plan = make_plan(*scene(model="minilm", task="classification", gpu_gib=None))
    candidate = plan.candidates[0]
    parameters = candidate.defaults()
    trial = Configuration(
        number=0, strategy=candidate.strategy, model=candidate.model, parameters=parameters
    )
    config = configure(plan, trial)
    measured = Measured(
        setup=config.setup,
        strategy=config.strategy,
        shape="",
        mean_length=config.setup.sequence_length,
        when="2026-12-01",
    )
    formula = candidate_setup(candidate, parameters, config.setup.sequence_length, 3, "cpu")
    again = measured_setup(measured, 3, "cpu")
    of_formula = (TrainingSetup.taken_from(each) for each in (formula, again))
    keys = {setup.key() for setup in (config.setup, candidate.setup, measured.setup, *of_formula)}
    assert len(keys) == 1
    other = config.with_setup(micro_batch=config.setup.micro_batch + 1).setup
    assert other.key() not in keys
    assert other.key("micro_batch") == config.setup.key("micro_batch")
