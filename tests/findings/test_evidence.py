"""Strategies and limits: what the trials show."""

import json

import pytest

from sweeper.findings.compute import compute


def ids(findings):
    return [limit.id for limit in findings.limits]


def test_strategies_count_their_own_trials(make):
    findings = compute(make(trials=12, ends={4: "FAIL", 5: "PRUNED"}, prune=False))
    full, head = (s for s in findings.strategies if s.strategy in ("full", "head"))
    assert (full.complete, full.pruned, full.failed) == (3, 0, 1)
    assert (head.complete, head.pruned, head.failed) == (3, 1, 0)
    assert full.trainable_share == pytest.approx(1.0, abs=0.01)


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
    done = [t for t in compute(run).trials if t.completed]
    best = min(done, key=lambda t: t.value).number
    set_loss_at(run, best, rung=2, loss=0.0)
    assert "slow-starters" not in ids(compute(run))
    set_loss_at(run, best, rung=2, loss=9.0)
    assert "slow-starters" in ids(compute(run))


def test_ranks_count_where_trials_were_in_fact_stopped(make):
    run = make(trials=9, prune=False, ends={8: "PRUNED"})
    done = [t for t in compute(run).trials if t.completed]
    best = min(done, key=lambda t: t.value).number
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
    done = [t for t in compute(run).trials if t.completed]
    best = min(done, key=lambda t: t.value)
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
