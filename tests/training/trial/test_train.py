"""A trial from configuration to result, on a model with random weights."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sweeper.backend import Decision, Interrupted
from sweeper.tasks.classification import Classification
from sweeper.training.loop.checkpointing import trained_weights
from sweeper.training.trial import rungs
from sweeper.training.trial.train import train_trial

FULL = {"learning_rate": 1e-3, "head_learning_rate": 1e-2, "weight_decay": 0.01}


@pytest.mark.parametrize(
    ("kind", "strategy", "parameters"),
    [
        ("bert", "lora", {}),
        ("bert", "lora", {"head_init": "probe"}),
        ("bert", "full", FULL),
        ("llama", "lora", {}),
        ("llama", "full", FULL),
    ],
)
def test_a_trial_learns_and_reports_each_rung_once(
    make_job, make_shared, make_config, answering, kind, strategy, parameters
):
    told = answering()
    lora = make_config().parameters
    job = make_job(
        make_shared(kind),
        told,
        strategy=strategy,
        parameters=parameters if strategy == "full" else {**lora, **parameters},
        budget={"epochs": 3},
    )
    result = train_trial(job)
    assert result.state == "COMPLETE"
    assert [report.rung for report in told] == [1, 2, 3, 4]
    assert [report.optimizer_steps for report in told] == [9, 18, 27, 36]
    assert [report.items for report in told] == [20, 20, 20, 40]
    assert [report.epochs for report in told] == pytest.approx([0.75, 1.5, 2.25, 3.0])
    assert told[-1].train_loss < 0.9 * told[0].train_loss
    assert result.validation_loss < np.log(3)
    tokens = [report.tokens for report in told]
    assert tokens[-1] == 3 * sum(job.context.items("train").lengths) == result.tokens
    assert tokens == sorted(tokens)
    assert 0 < result.trainable_parameters <= result.total_parameters


def test_a_trial_that_overfits_completes_early_with_the_weights_of_its_best_rung(
    make_job, make_shared, topics, answering
):
    # Labels that say nothing of the texts: what is learnt can only be learnt by heart.
    labels = [row.label for row in topics.splits["train"]]
    rows = zip(topics.splits["train"], labels[1:] + labels[:1], strict=True)
    train = tuple(replace(row, label=label) for row, label in rows)
    shared = make_shared(dataset=replace(topics, splits={**topics.splits, "train": train}))
    full = {**FULL, "learning_rate": 3e-3}
    results, heard = {}, {}
    for stops in (False, True):
        budget = {"epochs": 12, "rungs": 8, "stop_overfitting": stops}
        told = heard[stops] = answering()
        job = make_job(shared, told, strategy="full", parameters=full, budget=budget)
        results[stops] = train_trial(job)
    early = results[True]
    assert (early.state, early.stopped_at_rung) == ("COMPLETE", len(heard[True]))
    assert len(heard[True]) < len(heard[False]) == 8
    assert early.stopped_by == "overfitting"
    assert early.best_rung <= early.stopped_at_rung - 2
    losses = [report.validation_loss for report in heard[True]]
    assert losses[early.best_rung - 1] == min(losses)
    assert early.optimizer_steps < results[False].optimizer_steps
    assert results[False].stopped_at_rung is None


def test_a_trial_that_is_looked_at_less_often_trains_the_same(make_job, make_shared, answering):
    shared = make_shared()
    often, seldom = answering(), answering()
    for told, budget in ((often, {"rungs": 8}), (seldom, {"rungs": 8, "rung_every": 4})):
        assert train_trial(make_job(shared, told, budget=budget)).state == "COMPLETE"
    assert [report.rung for report in often] == list(range(1, 9))
    assert [report.rung for report in seldom] == [4, 8]
    for mine, other in zip(seldom, (often[3], often[7]), strict=True):
        assert mine.validation_loss == other.validation_loss
        assert (mine.optimizer_steps, mine.tokens) == (other.optimizer_steps, other.tokens)


def test_all_rungs_tell_how_the_first_items_fared(make_job, answering):
    told = answering()
    job = make_job(report=told)
    train_trial(job)
    first = [report.first_items for report in told]
    assert [(one.count, one.of) for one in first] == [(20, 40)] * 4
    assert [one.cost for one in first[:-1]] == pytest.approx(
        [report.validation_loss for report in told[:-1]], rel=1e-6
    )
    items = json.loads((job.folder / "item_losses.json").read_text())["losses"]
    assert first[-1].each == pytest.approx(items[:20], rel=1e-3)
    assert first[-1].cost == pytest.approx(np.mean(items[:20]), rel=1e-6)
    whole = answering()
    train_trial(make_job(report=whole, budget={"rung_items": 40}))
    assert all(report.first_items is None for report in whole)


def test_item_losses_are_in_item_order_and_average_to_the_validation_loss(make_job):
    job = make_job()
    result = train_trial(job)
    written = json.loads((job.folder / result.item_losses).read_text())
    examples = job.context.dataset.splits["validation"]
    assert written["keys"] == [example.key for example in examples]
    assert np.mean(written["losses"]) == pytest.approx(result.validation_loss)
    assert np.mean(written["scores"]) == pytest.approx(result.metrics["accuracy"])


def test_the_same_seed_gives_identical_losses_and_another_seed_others(make_job, make_shared):
    shared = make_shared()
    losses = [train_trial(make_job(shared, seed=seed)).validation_loss for seed in (5, 5, 6)]
    assert losses[0] == losses[1] != losses[2]


def test_a_trial_of_another_strategy_in_between_changes_nothing(make_job, make_shared):
    shared = make_shared()
    first = train_trial(make_job(shared))
    train_trial(make_job(shared, strategy="full", parameters=FULL))
    assert train_trial(make_job(shared)).validation_loss == first.validation_loss
    fresh = train_trial(make_job(make_shared()))
    assert fresh.validation_loss == first.validation_loss


def test_a_pruned_trial_ends_at_its_rung_without_a_validation_loss(make_job, answering):
    told = answering(rung_2=Decision.PRUNE)
    job = make_job(report=told)
    result = train_trial(job)
    assert (result.state, result.pruned_at_rung) == ("PRUNED", 2)
    assert result.validation_loss is None
    assert [report.rung for report in told] == [1, 2]
    assert result.optimizer_steps == told[-1].optimizer_steps
    assert sorted(path.name for path in job.folder.iterdir()) == ["trainer.log"]


def test_stop_interrupts_and_leaves_the_base_as_it_was(make_job, make_shared, answering):
    shared = make_shared()
    before = train_trial(make_job(shared)).validation_loss
    with pytest.raises(Interrupted):
        train_trial(make_job(shared, answering(rung_1=Decision.STOP)))
    assert train_trial(make_job(shared)).validation_loss == before


def test_a_trial_asks_at_each_step_and_each_evaluation_batch_whether_to_stop(make_job, answering):
    asked = []

    def stop_at_the_fourth_question():
        asked.append(True)
        return len(asked) == 4

    told = answering()
    with pytest.raises(Interrupted):
        train_trial(make_job(report=told, should_stop=stop_at_the_fourth_question))
    assert told == []


def test_training_is_told_before_its_first_step_has_ended(make_job, monkeypatch):
    job, told = make_job(), []
    monkeypatch.setattr(
        job.context.on_progress, "_on_progress", lambda *message: told.append(message)
    )
    result = train_trial(job)
    training = [done for what, done, _ in told if what == "training"]
    assert training[0] == 0
    assert result.state == "COMPLETE"


def test_a_rate_that_diverges_fails_with_the_reason_and_early(make_job, answering):
    told = answering()
    parameters = {"learning_rate": 1e18, "head_learning_rate": 1e18, "max_grad_norm": 0.0}
    job = make_job(report=told, strategy="full", parameters=parameters)
    result = train_trial(job)
    assert result.state == "FAIL"
    assert result.failure.kind == "diverged"
    assert "not finite" in result.failure.detail
    assert result.optimizer_steps < 6
    assert told == []


def test_a_validation_loss_that_is_not_finite_fails_and_is_never_reported(
    make_job, answering, monkeypatch
):
    score = Classification.score

    def broken(self, model, batch):
        scores = score(self, model, batch)
        scores.losses[0] = float("nan")
        return scores

    monkeypatch.setattr(Classification, "score", broken)
    told = answering()
    result = train_trial(make_job(report=told))
    assert (result.failure.kind, result.failure.detail) == ("diverged", "validation loss is nan")
    assert told == []


def test_a_strategy_that_does_not_exist_is_refused_with_a_near_match(make_job):
    result = train_trial(make_job(strategy="lroa"))
    assert result.failure.kind == "refused"
    assert "unknown strategy 'lroa'" in result.failure.detail


def test_the_best_rung_wins_over_the_last_one(make_job, answering, monkeypatch):
    """Validation losses are shifted so that rung 2 is best; its weights must come back."""
    shifts = iter([0.5, 0.0, 0.5, 0.5, 0.0])
    seen = []
    evaluate = rungs.RungWatch._evaluate

    def shifted(self, whole):
        evaluation = evaluate(self, whole)
        seen.append({n: w.clone() for n, w in trained_weights(self.model).items()})
        evaluation.losses.__iadd__(next(shifts))
        return evaluation

    monkeypatch.setattr(rungs.RungWatch, "_evaluate", shifted)
    result = train_trial(make_job(report=answering()))
    assert result.best_rung == 2
    assert len(seen) == 5
    assert all(torch.equal(seen[4][name], weight) for name, weight in seen[1].items())
    assert not all(torch.equal(seen[3][name], weight) for name, weight in seen[1].items())


def test_the_best_rung_is_told_by_what_was_trained_for(make_job, answering, monkeypatch):
    """One class has a good rung 2, the others a good rung 3; only what counts more decides."""
    evaluate = rungs.RungWatch._evaluate

    def best_rung(loss_weights):
        good = iter([None, True, False, None, True])

        def shifted(self, whole):
            evaluation = evaluate(self, whole)
            mine = np.arange(len(evaluation.losses)) % 4 == 0
            ahead = next(good)
            told = np.where(mine == ahead, 0.1, 1.0) if ahead is not None else 2.0
            evaluation.losses[:] = told
            return evaluation

        def weighing(self, examples):
            return (
                np.where(np.arange(len(examples)) % 4 == 0, *loss_weights) if loss_weights else None
            )

        monkeypatch.setattr(rungs.RungWatch, "_evaluate", shifted)
        monkeypatch.setattr(Classification, "loss_weights", weighing)
        told = answering()
        result = train_trial(make_job(report=told))
        assert told[1].validation_loss == pytest.approx(0.25 * 0.1 + 0.75)
        return result.best_rung

    assert best_rung(None) == 3
    assert best_rung((9.0, 0.1)) == 2


def test_the_head_strategy_fits_in_closed_form_and_reports_once(make_job, answering):
    told = answering()
    job = make_job(report=told, strategy="head", parameters={}, keep_weights=True)
    result = train_trial(job)
    assert result.state == "COMPLETE"
    assert [report.rung for report in told] == [4]
    probe = next(b for b in job.shared.baselines if b.name == "probe")
    assert result.validation_loss == pytest.approx(probe.evaluate("validation").loss, rel=1e-4)
    assert result.trainable_parameters == 3 * 32 + 3
    assert result.training_seconds >= job.shared.frozen_features.probe_for({}).seconds
    assert result.evaluation_seconds > 0
    written = {path.name for path in (job.folder / "weights").iterdir()}
    assert {name for name in written if name.endswith(".safetensors")} == {"head.safetensors"}


def test_a_result_says_what_it_ran_on(make_job):
    job = make_job()
    result = train_trial(job)
    assert result.versions.keys() >= {"python", "sweeper", "torch", "transformers", "peft"}
    assert result.data_fingerprint == job.context.dataset.fingerprint
    assert (result.number, result.attempt, result.seed, result.micro_batch) == (3, 1, 0, 8)
    assert result.peak_memory_gib > 0
    assert result.training_seconds > 0
    spent = result.training_seconds + result.evaluation_seconds + result.setup_seconds
    assert 0 <= result.waited_seconds < spent
    assert result.evaluation_seconds > 0
    assert "lora" in (job.folder / "trainer.log").read_text()


def test_bf16_mixed_trains_adapters_in_fp32_over_a_bf16_base(make_job):
    job = make_job(precision="bf16-mixed", keep_weights=True)
    result = train_trial(job)
    assert result.state == "COMPLETE"
    assert result.validation_loss < np.log(3)
    record = json.loads((job.folder / "weights" / "sweeper.json").read_text())
    assert record["base_dtype"] == "bfloat16"


def test_gradient_checkpointing_gives_the_same_losses(make_job, make_shared):
    shared = make_shared("llama")
    plain = train_trial(make_job(shared))
    less = train_trial(make_job(shared, gradient_checkpointing=True))
    assert less.state == "COMPLETE"
    assert less.validation_loss == pytest.approx(plain.validation_loss, rel=1e-5)
