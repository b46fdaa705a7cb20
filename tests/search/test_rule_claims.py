from __future__ import annotations

import pytest
from curve_backend import make_plan

from sweeper.plans import Candidate, Parameter, Reason
from sweeper.search.rule_claims import Claim, claims

START = Parameter(
    kind="categorical",
    choices=("random", "probe"),
    allowed_choices=("random", "probe"),
    default="random",
    source="none",
)


def candidate() -> Candidate:
    one = make_plan().candidate("lora")
    return one.model_copy(update={"parameters": {**one.parameters, "head_init": START}})


def found(effect: str) -> list[Claim]:
    reason = Reason(rule="a", title="", why="", source="", effect=effect)
    return list(claims(reason, candidate()))


@pytest.mark.parametrize(
    ("effect", "inside", "outside"),
    [
        ("learning_rate 4e-4 to 4e-3 (1e-3)", (4e-4, 4.0004e-3), (3.9e-4, 0.01, True)),
        ("per_device_train_batch_size {4|8|16} (8)", (4, 16), (2, 32)),
        ("target_modules {qv|qkvo} (qkvo)", ("qv", "qkvo"), ("all-linear",)),
        ("learning_rate 1e-3", (1e-3,), (2e-3,)),
    ],
)
def test_values_belong_to_a_claim_or_not(effect, inside, outside) -> None:
    (claim,) = found(effect)
    assert all(claim.inside(value) for value in inside)
    assert not any(claim.inside(value) for value in outside)


def test_where_all_choices_are_named_the_default_is_the_claim() -> None:
    (claim,) = found("head_init {random|probe} (random)")
    assert (claim.told, claim.inside("probe")) == ("random", False)


def test_an_effect_may_hold_several_claims_or_none() -> None:
    assert [one.parameter for one in found("learning_rate 1e-4 to 1e-3 (5e-4); r 4 to 16 (8)")] == [
        "learning_rate",
        "r",
    ]
    assert found("+2") == []
    assert found("unknown_parameter 3") == []
