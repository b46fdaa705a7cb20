"""Gains, strategies, parameters, importance, limits: what the trials show."""

import json

import numpy as np
import pytest

from sweeper.findings.compute import compute
from sweeper.findings.evidence.parameters import importances
from sweeper.plans import Plan
from sweeper.reporting.document import document
from sweeper.reporting.sections.search import search_sentence
from sweeper.trials import BaselineResult


def ids(findings):
    return [limit.id for limit in findings.limits]


def test_a_gain_that_is_within_noise_is_called_so(make):
    findings = compute(make(trials=6, prune=False, losses={0: 0.2402, 3: 0.2401}))
    gain = next(g for g in findings.gains if g.strategy == "lora")
    assert gain.outcome in ("within noise", "equivalent")
    assert gain.gain.low <= 0 <= gain.gain.high


def test_a_clear_gain_is_positive_and_better(make):
    findings = compute(
        make(trials=6, prune=False, losses={0: 0.9, 3: 0.2}, validation_items=400, seeds=2)
    )
    gain = next(g for g in findings.gains if g.strategy == "lora")
    assert gain.gain.value > 0.5
    assert (gain.outcome, gain.lacking) == ("better", None)


@pytest.mark.parametrize(
    ("shape", "lacks"),
    [({"validation_items": 400, "seeds": 1}, "seeds"), ({"validation_items": 19}, "items")],
)
def test_few_items_or_one_seed_show_no_gain_and_no_default_that_is_enough(make, shape, lacks):
    run = make(trials=6, prune=False, losses={0: 0.9, 3: 0.2}, **shape)
    findings = compute(run)
    gain = next(g for g in findings.gains if g.strategy == "lora")
    assert gain.gain.low > 0.1
    assert (gain.outcome, gain.lacking) == ("within noise", lacks)
    assert "enough" not in search_sentence(document(findings, Plan.read(run.plan)))


def test_no_gain_where_the_default_is_the_best(make):
    findings = compute(make(trials=6, prune=False, losses={0: 0.1, 3: 0.5}))
    gain = next(g for g in findings.gains if g.strategy == "lora")
    assert gain.best_trial == gain.default_trial == 0
    assert gain.gain is None


def test_strategies_count_their_own_trials(make):
    findings = compute(make(trials=12, ends={4: "FAIL", 5: "PRUNED"}, prune=False))
    full, head = (s for s in findings.strategies if s.strategy in ("full", "head"))
    assert (full.complete, full.pruned, full.failed) == (3, 0, 1)
    assert (head.complete, head.pruned, head.failed) == (3, 1, 0)
    assert full.trainable_share == pytest.approx(1.0, abs=0.01)


def test_share_of_fulls_quality_has_an_interval_and_its_split(make):
    share = compute(make(trials=20)).quality_share
    assert share.split == "test"
    assert share.share.low < share.share.value < share.share.high
    validation = compute(make(name="b", trials=9, seal=False)).quality_share
    assert validation.split == "validation"


@pytest.mark.parametrize("shape", [{"seeds": 1}, {"test_items": 19}])
def test_no_share_is_stated_from_few_items_or_one_seed(make, shape):
    findings = compute(make(trials=20, **shape))
    assert findings.quality_share is None
    assert not any("reaches" in rule.evidence for rule in findings.rules)


def test_no_share_of_a_loss_without_the_untrained_models_loss(make):
    shape = {"task": "instruction", "strategies": ("lora", "full"), "trials": 8}
    assert compute(make(**shape)).quality_share.split == "test"
    assert compute(make(name="b", baselines=False, **shape)).quality_share is None


def test_before_the_test_split_a_share_of_a_loss_is_taken_on_validation(make):
    run = make(task="instruction", strategies=("lora", "full"), trials=8, seal=False, seeds=2)
    assert compute(run).quality_share is None
    best = {one.strategy: one for one in compute(run).strategies}
    losses = {}
    for key, one in best.items():
        folders = (run.trial(one.best_trial), run.seed(one.best_trial, 1))
        kept = [json.loads((folder / "item_losses.json").read_text()) for folder in folders]
        losses[key] = np.mean([each["losses"] for each in kept], axis=0)
    untrained = [max(pair) + 0.5 for pair in zip(*losses.values(), strict=True)]
    path = run.baselines / "zero_shot.json"
    known = BaselineResult.read(path)
    known.model_copy(update={"item_losses": tuple(untrained)}).write(path)
    findings = compute(run)
    gained = {key: np.mean(untrained) - np.mean(found) for key, found in losses.items()}
    assert findings.quality_share.split == "validation"
    assert findings.quality_share.share.value == pytest.approx(gained["lora"] / gained["full"])
    assert findings.baselines[0].item_losses == ()


def test_strategies_are_never_pooled(make):
    found = {(p.strategy, p.parameter): p for p in compute(make(trials=18, prune=False)).parameters}
    assert found["lora", "learning_rate"].trials == 6
    assert found["full", "learning_rate"].trials == 6
    assert ("full", "r") not in found


def test_within_noise_of_the_best_holds_the_best_and_is_no_wider_than_what_was_tried(make):
    run = make(trials=30, strategies=("lora",), prune=False, validation_items=300)
    findings = compute(run)
    rate = next(p for p in findings.parameters if p.parameter == "learning_rate")
    tried = [t.parameters["learning_rate"] for t in findings.trials]
    assert min(tried) <= rate.within_noise_low <= rate.best <= rate.within_noise_high <= max(tried)
    assert rate.within_noise_trials < 30


def test_a_parameter_that_did_not_vary_says_so(make):
    found = compute(make(trials=6, constant=True, prune=False)).parameters
    assert not any(p.varied for p in found)
    assert not any(p.within_noise_low for p in found)


def test_best_at_a_bound_is_seen_and_becomes_a_limit(make):
    run = make(trials=9, prune=False)
    plan = Plan.read(run.plan)
    best = compute(run).trials[0].strategy
    findings = compute(run)
    winner = min((t for t in findings.trials if t.validation_loss), key=lambda t: t.validation_loss)
    rate = winner.parameters["learning_rate"]
    candidates = []
    for candidate in plan.candidates:
        rates = candidate.parameters["learning_rate"].model_copy(
            update={"allowed_low": rate * 0.9, "allowed_high": rate * 1000}
        )
        parameters = candidate.parameters | {"learning_rate": rates}
        candidates.append(candidate.model_copy(update={"parameters": parameters}))
    plan.model_copy(update={"candidates": tuple(candidates)}).write(run.plan)
    edge = compute(run)
    finding = next(
        p
        for p in edge.parameters
        if p.strategy == winner.strategy and p.parameter == "learning_rate"
    )
    assert best
    assert finding.at_edge == "low"
    assert "bound-learning_rate" in ids(edge)
    assert "bound-learning_rate" not in ids(findings)


def test_importance_is_hidden_under_twenty_completed_trials(make):
    few = compute(make(trials=19, strategies=("lora",), prune=False))
    assert all(p.importance is None for p in few.parameters)
    many = compute(make(name="b", trials=24, strategies=("lora",), prune=False))
    shown = {p.parameter: p.importance for p in many.parameters}
    assert shown["learning_rate"].n == 5
    assert shown["learning_rate"].low <= shown["learning_rate"].value


def test_importance_finds_what_the_loss_depends_on():
    rows = [{"rate": 10.0 ** (-i % 7), "other": (i * 7) % 5, "same": 1} for i in range(40)]
    losses = [float(-i % 7) for i in range(40)]
    found = importances(rows, losses, {"rate": True, "other": False, "same": False})
    assert found["rate"].value > 0.9
    assert "same" not in found
    assert importances(rows[:1], losses[:1], {"rate": True}) == {}


def test_the_means_that_a_gain_compares_add_up(make):
    findings = compute(make(trials=9, prune=False, finalists=3))
    compared = [gain for gain in findings.gains if gain.gain]
    assert max(gain.best_seeds for gain in compared) == 3
    for gain in compared:
        assert gain.default_mean - gain.best_mean == pytest.approx(gain.gain.value)


def test_limits_carry_numbers_and_an_action(make):
    shapes = (
        {"trials": 20},
        {"trials": 6, "asked": 20, "phase": "interrupted"},
        {"trials": 9, "ends": {0: "FAIL", 3: "FAIL"}},
        {"trials": 12, "seeds": 2},
    )
    for index, shape in enumerate(shapes):
        for limit in compute(make(name=f"run{index}", **shape)).limits:
            assert any(character.isdigit() for character in limit.text), limit
            assert limit.action.endswith(".")


def test_a_strategy_that_lost_many_trials_is_a_limit(make):
    findings = compute(make(trials=9, ends={0: "FAIL", 3: "FAIL"}, prune=False))
    assert "lost-lora" in ids(findings)
    assert "lost-full" not in ids(findings)


def test_no_limit_fires_on_a_study_without_flaws(make):
    run = make(
        trials=30,
        strategies=("lora", "full"),
        prune=False,
        validation_items=400,
        test_items=600,
        steps_per_rung=50,
        noise=0.01,
        rungs=24,
        baselines=False,
    )
    assert set(ids(compute(run))) <= {"small-test-set", "few-seeds"}


def test_slow_starters_are_a_limit_where_early_ranks_misled(make):
    run = make(trials=9, prune=False, ends={8: "PRUNED"})
    done = [t for t in compute(run).trials if t.validation_loss]
    best = min(done, key=lambda t: t.validation_loss).number
    set_loss_at(run, best, rung=2, loss=0.0)
    assert "slow-starters" not in ids(compute(run))
    set_loss_at(run, best, rung=2, loss=9.0)
    assert "slow-starters" in ids(compute(run))


def test_ranks_count_where_trials_were_in_fact_stopped(make):
    run = make(trials=9, prune=False, ends={8: "PRUNED"})
    done = [t for t in compute(run).trials if t.validation_loss]
    best = min(done, key=lambda t: t.validation_loss).number
    set_loss_at(run, best, rung=2, loss=9.0)
    assert "slow-starters" in ids(compute(run))
    # A pruner that was named with a later rung stopped it there.
    stopped = run.trial(8) / "rungs.jsonl"
    stopped.write_text((run.trial(best) / "rungs.jsonl").read_text().splitlines()[4])
    assert "slow-starters" not in ids(compute(run))
    set_loss_at(run, best, rung=5, loss=9.0)
    assert "slow-starters" in ids(compute(run))


def test_a_best_trial_that_still_fell_at_its_end_is_a_limit(make):
    run = make(trials=9, prune=False, noise=0.0005)
    done = [t for t in compute(run).trials if t.validation_loss]
    best = min(done, key=lambda t: t.validation_loss)
    for rung, loss in ((6, 0.5), (7, 0.4), (8, 0.3)):
        set_loss_at(run, best.number, rung, loss)
    assert "best-at-last-step" in ids(compute(run))
    set_rungs(run, best.number, 12)  # longer trials were tried, and this shorter one is the best
    assert "best-at-last-step" not in ids(compute(run))
    set_rungs(run, best.number, 8)
    # only the last rung fell: that is what a decay of the rate does
    set_loss_at(run, best.number, rung=6, loss=0.4)
    assert "best-at-last-step" not in ids(compute(run))


def set_rungs(run, number, rungs):
    """Let a full budget have so many rungs; the trial keeps its own."""
    plan = json.loads(run.plan.read_text())
    plan["budget"]["rungs"] = rungs
    run.plan.write_text(json.dumps(plan))


def set_loss_at(run, number, rung, loss):
    path = run.trial(number) / "rungs.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[rung - 1]["validation_loss"] = loss
    path.write_text("\n".join(json.dumps(line) for line in lines))
