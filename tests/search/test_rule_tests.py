from __future__ import annotations

import pytest
from curve_backend import make_plan

from sweeper.plans import Parameter, Plan, Reason
from sweeper.search.rule_claims import Claim
from sweeper.search.rule_tests import across
from sweeper.search.search import End, Restored, Search, known_starts


def parameter(**fields: object) -> Parameter:
    return Parameter.model_validate({"kind": "float", "default": 0, "source": "none", **fields})


RATE = parameter(log=True, low=1e-4, high=1e-2, allowed_low=1e-5, allowed_high=2e-2, default=1e-3)
DECAY = parameter(low=0, high=0.1, allowed_low=0, allowed_high=1, default=0.01, searched=False)
BATCH = parameter(
    kind="categorical", choices=(8, 16), allowed_choices=(2, 4, 8, 16, 32, 64), default=8
)


@pytest.mark.parametrize(
    ("claim", "of", "value", "moved"),
    [
        (Claim("rate", low=1e-4, high=1e-2), RATE, 5e-3, 2e-2),  # cut to what is allowed
        (Claim("rate", low=1e-4, high=1e-2), RATE, 2e-4, 1e-5),
        (Claim("rate", low=1e-4, high=4e-4), RATE, 3e-4, 8e-4),
        (Claim("rate", low=1e-4, high=4e-4), RATE, 1e-2, None),  # its default is outside, too
        (Claim("rate", low=1e-4, high=2e-3), RATE, 1e-2, 1e-3),  # back to the default
        (Claim("decay", choices=("0.01",)), DECAY, 0.01, 0.1),
        (Claim("batch", choices=("8", "16")), BATCH, 16, 32),
        (Claim("batch", choices=("8", "16")), BATCH, 8, 4),
        (Claim("batch", choices=("2", "4", "8", "16", "32", "64")), BATCH, 8, None),
    ],
)
def test_a_value_is_moved_across_the_bound(claim, of, value, moved) -> None:
    assert across(claim, of, value) == pytest.approx(moved)


def planned() -> Plan:
    plan = make_plan()
    rules = [
        Reason(rule=name, title="", why="", source="", effect=effect)
        for name, effect in (
            ("dropout", "lora_dropout 0.05"),
            ("rate", "learning_rate 1e-4 to 1e-3 (5e-4)"),
        )
    ]
    lora = plan.candidate("lora")
    known = {"lora_dropout": parameter(low=0, high=0.1, default=0.05, searched=False)}
    lora = lora.model_copy(
        update={"reasons": tuple(rules), "parameters": lora.parameters | known, "one_trial": False}
    )
    return plan.model_copy(update={"candidates": (lora,)})


def search(plan: Plan) -> Search:
    return Search(plan, tuple(known_starts(plan, 4)), total=4, rule_tests=2)


def test_the_last_trials_test_rules_and_go_on_after_a_resume() -> None:
    plan = planned()
    whole, ran = search(plan), []
    for number in range(4):
        asked = whole.ask()
        end = End("COMPLETE", 0.5 + 0.1 * number)
        whole.tell(number, end)
        ran.append(Restored(asked, end=end))
    tests = [one.asked for one in ran[2:]]
    assert [one.origin for one in tests] == ["rule-test"] * 2
    assert {one.rule for one in tests} == {"rate", "dropout"}
    best = ran[0].asked.parameters
    for one in tests:  # one parameter differs from the best trial
        name = {"rate": "learning_rate", "dropout": "lora_dropout"}[one.rule]
        assert {key for key in best if one.parameters[key] != best[key]} == {name}
    resumed = search(plan)
    resumed.restore(ran[:3])
    assert resumed.ask() == tests[1]


def test_without_a_completed_trial_the_search_goes_on() -> None:
    running = Search(planned(), total=1, rule_tests=1)
    assert running.ask().origin != "rule-test"


def test_a_search_that_sets_no_trial_aside_tests_no_rule() -> None:
    running = Search(planned())
    running.tell(running.ask().number, End("COMPLETE", 0.5))
    assert running.ask().origin == "search"
