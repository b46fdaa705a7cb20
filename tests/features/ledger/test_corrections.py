"""Plans have wider intervals where the ledger says that earlier ones were too narrow."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_scores import gap, time

from sweeper.facts.gather import gather
from sweeper.features.ledger._ledger import add
from sweeper.features.ledger._predictions import Scored, predictions_of
from sweeper.features.ledger.corrections import widen
from sweeper.planning.planner import make_plan
from sweeper.planning.ranking import gap_reason
from sweeper.plans import Plan, Quality
from sweeper.spec import HardwareSpec, Spec

FIELDS = {
    "task": "classification",
    "models": [{"id": "packaged:minilm"}],
    "data": {"examples": 900},
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEPER_HOME", str(tmp_path))
    return tmp_path


def plan_of(**fields: object) -> Plan:
    spec = Spec.model_validate(FIELDS | fields)
    return make_plan(spec, gather(spec))


def teach(*scored: Scored, run: int = 0) -> None:
    facts = plan_of().facts
    for number in range(run, run + 10):
        add(f"{number:032x}", facts, 5, scored)


def ratios(plan: Plan) -> tuple[float, float]:
    """How far the ends of the first trial's time and of the sweep's lie apart."""
    first, sweep = plan.candidates[0].duration, plan.budget.sweep
    return first.high / first.low, sweep.high / sweep.low


def test_times_get_wider_and_the_plan_says_why() -> None:
    before = plan_of()
    teach(time(60.0))
    after = plan_of()
    assert after.facts.features["ledger"]["factors"] == {"trial-time": 3.0}
    for narrow, wide in zip(ratios(before), ratios(after), strict=True):
        assert wide == pytest.approx(9 * narrow, rel=1e-3)
    assert after.candidates[0].duration.seconds == before.candidates[0].duration.seconds
    assert len(after.budget.timing) == len(before.budget.timing) + 1
    written = {(one.kind, one.strategy): one.widened for one in predictions_of(after)}
    assert written["sweep-time", ""] == written["trial-time", "lora"] == 3.0
    assert written["memory", "lora"] == 1.0


def test_a_sweep_is_widened_by_what_its_trials_do_not_explain() -> None:
    before = plan_of()
    teach(time(40.0), time(120.0, kind="sweep-time", strategy=""))
    after = plan_of()
    assert [widen(after.facts, kind) for kind in ("trial-time", "sweep-time")] == [2, 3]
    assert ratios(after)[1] == pytest.approx(36 * ratios(before)[1], rel=1e-3)


def test_qualities_get_wider_and_keep_their_means() -> None:
    before = plan_of()
    teach(gap(6.0, strategy="prefix"), gap(6.0, kind="search-gain", against=""))
    after = plan_of()
    assert after.search_gain.mean == before.search_gain.mean
    assert after.search_gain.sd == pytest.approx(2.5 * before.search_gain.sd)
    for one, other in zip(after.candidates, before.candidates, strict=True):
        assert one.quality.mean == other.quality.mean
        assert one.quality.sd == pytest.approx(2.5 * other.quality.sd, rel=0.01)


def test_what_plans_do_not_widen_is_not_taught() -> None:
    teach(time(60.0, kind="memory", unit="GiB"), gap(9.0, kind="rule-gap", rule="few-rows"))
    plan = plan_of()
    assert "ledger" not in plan.facts.features
    teach(gap(6.0, strategy="prefix"), run=10)
    kinds = {one.kind: one.widened for one in predictions_of(plan_of())}
    assert (kinds["strategy-gap"], kinds["rule-gap"]) == (2.5, 1.0)


def test_own_runs_of_the_task_and_kind_of_model_move_the_expected_quality() -> None:
    before = {each.strategy: each for each in plan_of().candidates}
    facts = plan_of().facts
    for number in range(3):
        add(f"{number:032x}", facts, 5, (gap(6.0, 1.0), gap(1.0, 1.0, strategy="head")))
    after = {each.strategy: each for each in plan_of().candidates}
    published, own = before["full"].quality, after["full"].quality
    # Three runs: (1 + 2^2) / 3 between tasks, and half a point that more runs do not lower.
    weight = 1 / (5 / 3 + 0.5**2)
    assert own.mean == pytest.approx(
        (published.mean / published.sd**2 + 6 * weight) / (published.sd**-2 + weight), abs=2e-3
    )
    assert own.sd < published.sd
    assert after["lora"].quality == before["lora"].quality
    assert after["head"].quality.mean > before["head"].quality.mean
    reason = after["full"].reasons[-1]
    assert (reason.rule, reason.gap and reason.gap.mean) == ("own-runs", 6.0)


@pytest.mark.parametrize(
    "fields", [{"task": "instruction", "models": [{"id": "packaged:smollm2"}]},
               {"models": [{"id": "packaged:smollm2"}]}],
    ids=["another task", "another kind of model"],
)  # fmt: skip
def test_other_runs_do_not_move_it(fields: dict[str, object]) -> None:
    before = plan_of(**fields)
    teach(gap(2.0))
    after = plan_of(**fields)
    assert [each.quality for each in after.candidates] == [
        each.quality for each in before.candidates
    ]


def test_runs_that_disagree_say_less_than_those_that_agree() -> None:
    agree, disagree = (gap_reason([(d, 0.1), (2 - d, 0.1)], between=0.5) for d in (1.0, 5.0))
    assert agree is not None
    assert disagree is not None
    assert agree.gap == Quality(mean=1.0, sd=0.6164)
    assert disagree.gap == Quality(mean=1.0, sd=4.0311)


def test_stated_hardware_has_no_past_here() -> None:
    stated = {"hardware": HardwareSpec(gpu_memory_gib=24).model_dump()}
    before = plan_of(**stated)
    teach(time(60.0))
    assert plan_of(**stated) == before


def test_without_scores_nothing_changes() -> None:
    plan = plan_of()
    assert "ledger" not in plan.facts.features
    assert widen(plan.facts, "trial-time") == 1.0
