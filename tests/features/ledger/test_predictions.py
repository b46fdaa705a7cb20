"""What a plan predicts, as values with intervals."""

from __future__ import annotations

import pytest
from make_plan import Shape, make_plan

from sweeper.features.ledger._predictions import predictions_of
from sweeper.memory.estimate import trial_gib
from sweeper.plans import Plan, Quality, Reason, RunnerUp


def plan_of(**changes: object) -> Plan:
    """A plan of LoRA, full fine-tuning and a frozen head, with qualities and a price."""
    plan = make_plan(Shape())
    qualities = {"lora": (0.0, 0.1), "full": (0.5, 1.0), "head": (-2.0, 2.0)}
    claim = Quality(mean=0.4, sd=0.2)
    reason = Reason(rule="large-sets", why="", source="", gap=claim)
    candidates = [
        one.model_copy(
            update={
                "quality": Quality(mean=qualities[one.strategy][0], sd=qualities[one.strategy][1]),
                "reasons": (reason, *(r for r in one.reasons if r.gap is None))
                if one.strategy == "full"
                else (),
            }
        )
        for one in plan.candidates
    ]
    money = {"cost_usd": 2e-4, "cost_low_usd": 1e-4, "cost_high_usd": 3e-4}
    fields = {
        "candidates": tuple(candidates),
        "budget": plan.budget.model_copy(update=money),
        "search_gain": Quality(mean=1.7, sd=1.5),
        "runner_up": RunnerUp(
            strategy="full", model=plan.candidates[0].model, probability=0.4, points=-0.5
        ),
    }
    return plan.model_copy(update={**fields, **changes})


def test_every_value_that_a_plan_states_is_a_prediction() -> None:
    plan = plan_of()
    found = {(one.kind, one.strategy): one for one in predictions_of(plan)}
    assert set(found) == {
        *(("memory", name) for name in ("lora", "full", "head")),
        *(("trial-time", name) for name in ("lora", "full", "head")),
        ("strategy-gap", "full"), ("strategy-gap", "head"), ("rule-gap", "full"),
        ("sweep-time", ""), ("money", ""), ("search-gain", "lora"),
        ("best-loss", ""), ("more-rows", ""),
        ("best-strategy", "lora"), ("fine-tuning-pays", "lora"),
    }  # fmt: skip

    def ends(key: tuple[str, str]) -> tuple[float, float | None, float | None]:
        return found[key].value, found[key].low, found[key].high

    assert ends(("sweep-time", "")) == (420, 280, 580)
    assert ends(("money", "")) == (2e-4, 1e-4, 3e-4)
    for one in plan.candidates:
        duration, memory = one.duration, one.memory
        expected = (duration.seconds, duration.low, duration.high)
        assert ends(("trial-time", one.strategy)) == expected
        overhead = memory.peak_gib - trial_gib(memory)
        assert ends(("memory", one.strategy))[2] == pytest.approx(memory.high_gib - overhead)
    assert ends(("search-gain", "lora")) == pytest.approx((1.7, 1.7 - 1.645 * 1.5, 4.1675))
    assert ends(("strategy-gap", "full")) == pytest.approx((0.5, -1.145, 2.145))
    claim = found["rule-gap", "full"]
    assert (claim.rule, claim.against) == ("large-sets", "lora")
    assert ends(("rule-gap", "full")) == pytest.approx((0.4, 0.071, 0.729))


def test_the_best_loss_is_a_share_of_that_of_guessing_where_this_is_known() -> None:
    plan = plan_of()
    several = plan.facts.models * 2
    text = plan.facts.model_copy(update={"task": "instruction"})
    facts = (plan.facts, text, text.model_copy(update={"models": several}))
    found = [
        [
            (one.unit, one.value, one.low, one.high)
            for one in predictions_of(plan.model_copy(update={"facts": each}))
            if one.kind == "best-loss"
        ]
        for each in facts
    ]
    assert found == [[("share", 0.26, 0.02, 1.0)], [("share", 0.07, 0.01, 0.5)], []]


def test_an_event_has_its_probability_and_what_is_stated_of_the_likelier_outcome() -> None:
    found = {one.kind: one for one in predictions_of(plan_of())}
    best, pays = found["best-strategy"], found["fine-tuning-pays"]
    assert (best.value, best.stated, best.against) == (0.4, 0.6, "full")
    chance = Quality(mean=0, sd=0.1).probability_above(Quality(mean=-2, sd=2))
    assert (pays.value, pays.stated, pays.against) == (chance, chance, "head")


def test_a_plan_without_such_values_predicts_none_of_them() -> None:
    plan = plan_of(runner_up=None, search_gain=Quality(mean=0, sd=0))
    alone = plan.candidates[0]
    kinds = [one.kind for one in predictions_of(plan.model_copy(update={"candidates": (alone,)}))]
    assert kinds == ["memory", "trial-time", "sweep-time", "money", "best-loss", "more-rows"]
