from __future__ import annotations

import math

import numpy as np
import pytest

from sweeper.findings.evidence.parameter_effects import SeenTrial, effects, final_losses
from sweeper.plans import Parameter
from sweeper.search.rule_claims import Claim

PARAMETERS = {
    "learning_rate": Parameter(
        kind="float", low=1e-4, high=1e-3, log=True, allowed_low=1e-5, allowed_high=1e-2,
        default=3e-4, source="none",
    ),
    "start": Parameter(
        kind="categorical", choices=("a", "b"), allowed_choices=("a", "b"), default="a",
        source="none",
    ),
}  # fmt: skip
RATE = Claim("learning_rate", low=1e-4, high=1e-3)
START = Claim("start", choices=("a",))


def trials(effect: float, noise: float = 0.02, seed: int = 0) -> list[SeenTrial]:
    """Losses of a bowl in the rate; starts at b are higher by the effect, and at good rates."""
    rng = np.random.default_rng(seed)
    found = []
    for place, rate in enumerate(np.geomspace(2e-5, 5e-3, 14)):
        away = math.log10(rate / 3e-4)
        start = "b" if 4 <= place < 10 and place % 3 else "a"
        loss = math.exp(0.3 * away**2 + effect * (start == "b") + noise * rng.normal())
        found.append(SeenTrial({"learning_rate": float(rate), "start": start}, {}, (loss,)))
    return found


def test_a_bowl_is_seen_and_its_sides_are_counted() -> None:
    rate, start = effects(trials(0.0), PARAMETERS, [RATE, START])
    assert rate is not None
    assert start is not None
    assert (rate.inside, rate.outside) == (6, 8)
    assert rate.inside_loss < rate.outside_loss
    assert 0 < rate.low < rate.value < rate.high
    assert rate.doubt < 0.05
    # The better trials start at b, but only because their rates are good.
    assert start.outside_loss < start.inside_loss
    assert start.low < 0 < start.high
    assert start.doubt > 0.05


@pytest.mark.parametrize("effect", [0.6, -0.6])
def test_an_effect_beside_the_bowl_has_its_sign(effect: float) -> None:
    (start,) = effects(trials(effect), PARAMETERS, [START])
    assert start is not None
    assert start.doubt < 0.05
    assert start.low < effect < start.high


def test_repeated_trainings_count_as_one_configuration() -> None:
    seen = trials(0.4)
    seen[0] = SeenTrial(seen[0].parameters, {}, (*seen[0].finals, 1.5, 1.6))
    (start,) = effects(seen, PARAMETERS, [START])
    assert start is not None
    assert start.inside + start.outside == 14


def test_no_effect_without_two_sides_or_enough_trials() -> None:
    assert effects(trials(0.4), PARAMETERS, [Claim("start", choices=("a", "b"))]) == [None]
    assert effects(trials(0.4), PARAMETERS, [Claim("other", choices=("a",))]) == [None]
    assert effects(trials(0.4)[4:8], PARAMETERS, [START]) == [None]


def test_a_pruned_trial_goes_on_as_completed_ones_did() -> None:
    done = [SeenTrial({}, {1: 2.0, 2: 1.0}, (0.5,)), SeenTrial({}, {1: 4.0, 2: 1.0}, (0.5,))]
    pruned = SeenTrial({}, {1: 8.0, 2: 3.0})
    failed = [SeenTrial({}, {1: math.nan}), SeenTrial({}, {}), SeenTrial({}, {}, (math.inf,))]
    assert final_losses([*done, pruned, *failed]) == [(0.5,), (0.5,), (1.5,), (), (), ()]
