"""What a run observed of its predictions, and what held."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Callable

import pytest

from sweeper.features.ledger._predictions import PlanPrediction
from sweeper.features.ledger._scoring import scores_of
from sweeper.findings.study.reading import read_run
from sweeper.findings.study.strategy_figures import best_of
from sweeper.runfolder import RunFolder
from sweeper.search.pruner import guessing_loss
from sweeper.trials import TrialResult


def score(run: RunFolder, **fields: object):
    """One prediction with its score."""
    (scored,) = scores_of([PlanPrediction(**fields)], read_run(run))
    return scored


def own_time(run: RunFolder) -> tuple[float, float]:
    """The planned and the median measured time of full trials of LoRA."""
    plan = json.loads(run.plan.read_text())
    planned = next(c for c in plan["candidates"] if c["strategy"] == "lora")["duration"]["seconds"]
    files = read_run(run)
    full = [t for t in files.trials if t.config.strategy == "lora" and t.completed]
    return planned, statistics.median(t.result.seconds for t in full if t.result)


@pytest.mark.parametrize(("factor", "held"), [(1.1, True), (0.9, False)])
def test_a_time_holds_up_to_its_end(
    make_run: Callable[..., RunFolder], factor: float, held: bool
) -> None:
    run = make_run(trials=6, prune=False)
    planned, measured = own_time(run)
    scored = score(
        run, kind="trial-time", strategy="lora", unit="s", value=planned, low=0,
        high=measured * factor,
    )  # fmt: skip
    assert (scored.observed, scored.held) == (pytest.approx(measured), held)


def test_time_of_other_programs_is_noted_and_not_judged(make_run: Callable[..., RunFolder]) -> None:
    run = make_run(trials=6, prune=False)
    planned, measured = own_time(run)
    for path in run.trials.glob("*/result.json"):
        result = TrialResult.read(path)
        result.model_copy(update={"waited_seconds": result.seconds / 2}).write(path)
    scored = score(
        run, kind="trial-time", strategy="lora", unit="s", value=planned, low=0,
        high=measured * 0.6,
    )  # fmt: skip
    assert scored.disturbed == pytest.approx(0.5)
    assert (scored.observed, scored.held) == (pytest.approx(measured), True)


def test_what_was_not_measured_or_not_planned_so_is_not_judged(
    make_run: Callable[..., RunFolder],
) -> None:
    run = make_run(trials=6, prune=False)
    of_adapter = score(run, kind="memory", strategy="adapter", unit="GiB", value=1, low=0, high=2)
    assert (of_adapter.held, of_adapter.open) == (None, "not-measured")
    planned, _ = own_time(run)
    changed = score(
        run, kind="trial-time", strategy="lora", unit="s", value=2 * planned, low=0, high=1e6
    )
    assert (changed.held, changed.open) == (None, "other-work")


def test_an_event_occurs_if_the_best_trial_has_the_lower_loss(
    make_run: Callable[..., RunFolder],
) -> None:
    run = make_run(trials=9, prune=False)
    files = read_run(run)
    lora, head = best_of(files, "lora"), best_of(files, "head")
    assert lora is not None
    assert head is not None
    assert lora.cost < head.cost
    event = {"kind": "best-strategy", "unit": "probability", "strategy": "lora", "against": "head"}
    likely, unlikely = score(run, **event, value=0.8), score(run, **event, value=0.2)
    assert (likely.observed, likely.held, unlikely.held) == (1, True, False)


def test_a_gap_is_that_of_the_best_trials_on_the_test_split(
    make_run: Callable[..., RunFolder],
) -> None:
    run = make_run(trials=12, prune=False, test_items=400)
    files = read_run(run)
    assert files.seal is not None
    means = {}
    for name in ("lora", "full"):
        best = best_of(files, name)
        assert best is not None
        scores = [s for s in files.seal.scores if s.trial == best.config.number]
        means[name] = statistics.fmean(statistics.fmean(s.item_scores) for s in scores)
    gap = {"kind": "strategy-gap", "unit": "points", "strategy": "full", "against": "lora"}
    observed = 100 * (means["full"] - means["lora"])
    near = score(run, **gap, value=observed, low=observed - 0.1, high=observed + 0.1)
    assert near.observed == pytest.approx(observed)
    assert near.held
    assert near.error > 0
    # Within the noise of so many items it is not wrong; three times as far away it is.
    for distance, held in ((near.error, True), (3 * near.error, False)):
        value = observed + distance
        assert score(run, **gap, value=value, low=value, high=value).held is held


def test_the_gain_of_a_search_whose_default_is_best_is_none(
    make_run: Callable[..., RunFolder],
) -> None:
    run = make_run(trials=3, prune=False)
    gain = score(run, kind="search-gain", strategy="lora", unit="points", value=0, low=-1, high=1)
    assert (gain.observed, gain.error, gain.held) == (0, 0, True)


def test_without_a_metric_in_points_a_gap_is_not_judged(make_run: Callable[..., RunFolder]) -> None:
    run = make_run(trials=6, task="instruction", strategies=("lora", "full"), prune=False)
    gap = score(
        run, kind="strategy-gap", strategy="full", against="lora", unit="points",
        value=0, low=-1, high=1,
    )  # fmt: skip
    assert (gap.held, gap.open) == (None, "no-points")


@pytest.mark.parametrize(("factor", "held"), [(1.1, True), (0.9, False)])
def test_the_best_loss_is_the_lowest_of_the_search_over_that_of_guessing(
    make_run: Callable[..., RunFolder], factor: float, held: bool
) -> None:
    run = make_run(trials=6, prune=False)
    files = read_run(run)
    lowest = min(t.result.validation_loss for t in files.ranked if t.result)
    share = lowest / guessing_loss(files.plan)
    assert 0 < share < 1
    scored = score(run, kind="best-loss", unit="share", value=share, low=0, high=share * factor)
    assert (scored.observed, scored.held) == (pytest.approx(share), held)


def test_more_rows_are_judged_by_the_last_doubling_of_a_data_curve(
    make_run: Callable[..., RunFolder],
) -> None:
    rows = {"kind": "more-rows", "unit": "percent", "value": 15, "low": -15, "high": 45}
    without = score(make_run(trials=6, prune=False), **rows)
    assert (without.held, without.open) == (None, "not-measured")
    run = make_run(trials=6, parts=0.5)
    scored = score(run, **rows)
    # The loss falls by a factor of 1.41 at each doubling.
    assert scored.observed == pytest.approx(100 * (1 - 2**-0.5), abs=5)
    assert 0 < scored.error < 5
    assert scored.held
    assert not score(run, **rows | {"value": 5, "low": 0, "high": 10}).held
    for part in run.trials.glob("*/rows/280/[!0]*"):  # a single seed has no error
        shutil.rmtree(part)
    assert score(run, **rows).open == "not-measured"


def test_more_rows_of_a_text_task_are_judged_by_its_loss(
    make_run: Callable[..., RunFolder],
) -> None:
    run = make_run(trials=6, parts=0.5, task="instruction")
    scored = score(run, kind="more-rows", unit="percent", value=30, low=20, high=40)
    assert scored.observed == pytest.approx(29.3, abs=5)
    assert scored.held
