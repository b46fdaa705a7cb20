"""Plans have wider intervals where the ledger says that earlier ones were too narrow."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledger_scores import gap, time

from sweeper.facts.gather import gather
from sweeper.facts.machine.hardware import hardware_facts
from sweeper.facts.record import LabelCount
from sweeper.features.ledger._ledger import add
from sweeper.features.ledger._predictions import Scored, predictions_of
from sweeper.features.ledger.corrections import widen
from sweeper.memory.estimate import trial_gib
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


def test_each_end_of_memory_gets_wider_by_what_missed_it() -> None:
    def ends(plan: Plan) -> tuple[float, float]:
        memory = plan.candidates[0].memory
        overhead = memory.peak_gib - trial_gib(memory)
        return memory.low_gib - overhead, memory.high_gib - overhead

    below, above = (
        time(observed, kind="memory", unit="GiB", widened_low=1.0) for observed in (2.5, 30.0)
    )
    before = plan_of()
    low, high = ends(before)
    teach(below, below)
    assert ends(plan_of()) == pytest.approx((low / 2, high), abs=2e-3)
    teach(above, above, run=10)
    after = plan_of()
    assert len(after.candidates[0].memory.assumptions) == (
        len(before.candidates[0].memory.assumptions) + 1
    )
    # Of 40, 39 should hold at each end.
    assert ends(after) == pytest.approx((low / 2, high * 1.5), abs=2e-3)
    (written,) = (
        each for each in predictions_of(after)
        if (each.kind, each.strategy) == ("memory", after.candidates[0].strategy)
    )  # fmt: skip
    assert (written.widened_low, written.widened) == (2.0, 1.5)


def test_a_set_up_must_fit_with_the_wider_end_of_memory() -> None:
    def batch(plan: Plan) -> int:
        return max(each.setup.micro_batch for each in plan.candidates if each.strategy == "full")

    small = plan_of()
    limit = next(c for c in small.candidates if c.strategy == "full").memory.high_gib * 1.2
    facts = small.facts.model_copy(
        update={"hardware": small.facts.hardware.model_copy(update={"memory_gib": limit})}
    )
    learnt = {"ledger": {"factors": {"memory-high": 3.0}}}
    spec = Spec.model_validate(FIELDS)
    before = make_plan(spec, facts)
    after = make_plan(spec, facts.model_copy(update={"features": learnt}))
    assert batch(after) < batch(before)


def test_the_claims_of_rules_get_wider_and_pooled_qualities_do_not() -> None:
    def claims(plan: Plan) -> dict[tuple[str, str], Quality]:
        return {
            (each.strategy, reason.rule): reason.gap
            for each in plan.candidates
            for reason in each.reasons
            if reason.gap is not None
        }

    before = plan_of()
    teach(gap(6.0, kind="rule-gap", rule="few-rows"))
    after = plan_of()
    assert claims(before)
    assert claims(after) == {name: claim.widened(2.5) for name, claim in claims(before).items()}
    assert [each.quality for each in after.candidates] == [
        each.quality for each in before.candidates
    ]
    assert {each.widened for each in predictions_of(after) if each.kind == "rule-gap"} == {2.5}


def event(kind: str, held: bool) -> Scored:
    return Scored(
        kind=kind, strategy="lora", against="full", unit="probability", value=0.9, stated=0.9,
        observed=float(held), held=held,
    )  # fmt: skip


@pytest.mark.parametrize(("hits", "factor"), [(9, 1.0), (7, 2.0), (5, 10.0), (2, 10.0)])
def test_a_probability_moves_towards_a_half_where_the_likelier_outcome_is_rarer(
    hits: int, factor: float
) -> None:
    before = plan_of().runner_up
    for number in range(10):
        held = number < hits
        scored = (event("best-strategy", held), event("fine-tuning-pays", held))
        add(f"{number:032x}", plan_of().facts, 5, scored)
    plan = plan_of()
    assert before is not None
    assert plan.runner_up is not None
    expected = 0.5 + (before.probability - 0.5) / factor
    assert plan.runner_up.probability == pytest.approx(expected, abs=1e-3)
    written = {each.kind: each for each in predictions_of(plan) if each.unit == "probability"}
    assert written["best-strategy"].widened == factor
    assert written["best-strategy"].value == pytest.approx(expected, abs=1e-3)
    assert written["fine-tuning-pays"].widened == factor


def test_the_best_loss_is_expected_where_own_runs_of_the_task_had_it() -> None:
    def expected() -> tuple[float, float | None, float | None]:
        plan = plan_of()
        labels = (LabelCount(label="a", rows=450), LabelCount(label="b", rows=450))
        data = plan.facts.data.model_copy(update={"labels": labels})
        facts = plan.facts.model_copy(update={"data": data})
        predicted = predictions_of(plan.model_copy(update={"facts": facts}))
        (written,) = (each for each in predicted if each.kind == "best-loss")
        return written.value, written.low, written.high

    prior = expected()
    facts = plan_of().facts
    text = facts.model_copy(update={"task": "instruction"})
    for number, share in enumerate([0.4, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.625]):
        for run, of_task in ((number, facts), (100 + number, text)):
            add(f"{run:032x}", of_task, 5, (best_loss(share),))
    assert expected() == prior
    add(f"{9:032x}", facts, 5, (best_loss(0.5),))
    # The largest of ten factors to the median.
    assert expected() == (0.5, 0.4, 0.625)


def best_loss(share: float) -> Scored:
    return Scored(
        kind="best-loss", unit="share", value=0.3, low=0.1, high=1.0, observed=share, held=True
    )


def test_the_value_of_more_rows_gets_wider() -> None:
    teach(gap(6.0, kind="more-rows", unit="percent"))
    (written,) = (each for each in predictions_of(plan_of()) if each.kind == "more-rows")
    assert (written.value, written.low, written.high) == (15.0, -60.0, 90.0)
    assert written.widened == 2.5


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
    agree, disagree = (gap_reason([(d, 0.1), (2 - d, 0.1)], between_tasks=0.5) for d in (1.0, 5.0))
    assert agree is not None
    assert disagree is not None
    assert agree.gap == Quality(mean=1.0, sd=0.6164)
    assert disagree.gap == Quality(mean=1.0, sd=4.0311)


def test_stated_hardware_has_no_past_here() -> None:
    stated = {"hardware": HardwareSpec(gpu_memory_gib=24).model_dump()}
    before = plan_of(**stated)
    teach(time(60.0))
    assert plan_of(**stated) == before


def test_cards_to_rent_have_no_past_here() -> None:
    teach(time(60.0))
    facts = plan_of().facts
    card = hardware_facts(HardwareSpec(gpu="RTX 4090"))
    assert widen(facts, "trial-time") == 3.0
    assert widen(facts.model_copy(update={"hardware": card}), "trial-time") == 1.0


def test_without_scores_nothing_changes() -> None:
    plan = plan_of()
    assert "ledger" not in plan.facts.features
    assert widen(plan.facts, "trial-time") == 1.0
