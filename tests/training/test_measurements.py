"""What a trial keeps of itself for the next plan on this machine."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from sweeper.backend import Decision
from sweeper.facts.machine import measured
from sweeper.facts.record import StepExtra
from sweeper.training.measurements import machine, store_measurement, trial_measurement
from sweeper.trials import Failure, Measure, RungReport, TrialResult
from sweeper.units import GIB


@pytest.fixture
def result(make_config):
    config = make_config()
    return TrialResult(
        number=config.number,
        attempt=1,
        seed=0,
        state="COMPLETE",
        optimizer_steps=24,
        tokens=24 * 8 * 6,
        training_seconds=12.0,
        evaluation_seconds=2.0,
        peak_memory_gib=0.5,
        micro_batch=8,
    )


@pytest.fixture
def model(make_shared):
    return make_shared().context.facts


@pytest.mark.parametrize("classes", [0, 3])
def test_it_is_noted_what_the_model_ended_in(make_config, result, model, classes):
    found = trial_measurement(make_config(), result, model, classes, 80)
    assert found is not None
    assert found.classes == classes
    assert found.extra == StepExtra()
    assert found.seconds_per_step == pytest.approx(0.5)
    assert found.seconds_per_item == pytest.approx(2.0 / 80)
    assert found.mean_length == 6


@pytest.mark.parametrize(("waited", "left"), [(7.0, 0.5), (14.0, 0.1)])
def test_what_other_programs_took_does_not_count(make_config, result, model, waited, left):
    busy = result.model_copy(update={"waited_seconds": waited})
    found = trial_measurement(make_config(), busy, model, 0, 80)
    assert found.seconds_per_step == pytest.approx(left * 0.5)
    assert found.seconds_per_item == pytest.approx(left * 2.0 / 80)
    assert found.threads >= 1


CARD_GIB = 24


@pytest.mark.parametrize(
    ("had_gib", "loading", "kept"),
    [(23.5, False, True), (23.5, True, False), (11.0, False, False)],
)
def test_memory_that_ran_out_for_the_set_up_alone_is_kept(
    make_config, result, model, monkeypatch, had_gib, loading, kept
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, CARD_GIB * GIB))
    failure = Failure(kind="out-of-memory", detail="x", had_gib=had_gib, loading=loading)
    failed = result.model_copy(update={"state": "FAIL", "failure": failure})
    found = trial_measurement(make_config(), failed, model, 0, 80)
    assert (found is not None) is kept
    assert found is None or found.out_of_memory


def test_a_trial_with_more_in_a_step_is_a_set_up_of_its_own(make_config, result, model):
    parameters = {"replay_share": 0.2, "kl_weight": 0.1}
    found = trial_measurement(make_config(parameters=parameters), result, model, 0, 80)
    assert found is not None
    assert found.extra == StepExtra(further_share=0.2, reference=True)


def _rung(measured=False):
    return RungReport(
        number=3,
        attempt=1,
        rung=4,
        validation_loss=1.0,
        items=40,
        measures={"size": Measure(title="size", unit="m", value=1.0)} if measured else {},
        optimizer_steps=24,
        epochs=2.0,
        tokens=100,
        training_seconds=12.0,
        evaluation_seconds=2.0,
    )


def _context(model, validation_items):
    dataset = SimpleNamespace(splits={"validation": range(validation_items)})
    return SimpleNamespace(facts=model, head_classes=3, dataset=dataset)


@pytest.mark.parametrize(("measured_too", "seconds"), [(False, 0.05), (True, None)])
def test_seconds_an_item_are_not_taken_where_more_was_measured(
    make_config, result, model, tmp_path, monkeypatch, measured_too, seconds
):
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    store_measurement(make_config(), result, _context(model, 40), [_rung(measured_too)])
    (found,) = measured.read(*machine())
    assert found.seconds_per_item == (None if seconds is None else pytest.approx(seconds))


def test_an_item_that_was_scored_again_with_the_best_rungs_weights_counts_again(
    make_config, result, model, tmp_path, monkeypatch
):
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    early = result.model_copy(update={"best_rung": 2, "stopped_at_rung": 4})
    store_measurement(make_config(), early, _context(model, 60), [_rung()])
    (found,) = measured.read(*machine())
    assert found.seconds_per_item == pytest.approx(2.0 / (40 + 60))


def test_a_trial_that_trained_on_this_machine_is_read_back_with_its_classes(
    backend, config, tmp_path, monkeypatch
):
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path / "home"))
    folder = tmp_path / "trial"
    folder.mkdir()
    backend.train(config(), folder, lambda rung: Decision.CONTINUE, lambda: False)
    (found,) = measured.read(*machine())
    assert found.classes == 3
    assert found.strategy == "lora"
