from __future__ import annotations

import numpy as np
from spaces import RATE, SPACE

from sweeper.search import space
from sweeper.search.axis import axis_of
from sweeper.search.model import LEAST_TOLD, MOST_TOLD, Known, Model, Trials, thinned
from sweeper.search.observations import Observation

AXES = {
    "learning_rate": axis_of(
        "learning_rate", RATE, space.distributions(SPACE)["lora.learning_rate"]
    )
}
GENERATOR = np.random.default_rng(0)


def trials(count: int, key: str = "lora") -> list[Observation]:
    rates = 10 ** GENERATOR.uniform(-5, -2, count)
    losses = 0.3 + (np.log10(rates) + 3) ** 2 + GENERATOR.normal(0, 0.01, count)
    return [
        Observation(number, key, {"learning_rate": float(rate)}, float(loss), True, False, False,
                    "search")
        for number, (rate, loss) in enumerate(zip(rates, losses, strict=True))
    ]  # fmt: skip


def model(own: int, *others: int) -> Model:
    return Model(
        Trials(AXES, trials(own), SPACE.budget),
        lambda points: np.zeros(len(points)),
        Known(noise=0.01),
        [Trials(AXES, trials(count, "full"), SPACE.budget) for count in others],
    )


def test_few_trials_are_all_told_and_of_many_the_best_the_last_and_an_even_rest() -> None:
    seen = trials(200)
    assert thinned(seen, 200) == seen
    kept = thinned(seen, 60)
    assert len(kept) == 60
    assert [one.number for one in kept] == sorted(one.number for one in kept)
    best = sorted(seen, key=lambda one: one.rank)[:20]
    assert all(one in kept for one in [*best, *seen[-20:]])
    assert np.diff([one.number for one in kept]).max() < 20


def test_what_a_model_is_told_is_bounded_and_at_least_half_its_own() -> None:
    def told(made: Model) -> list[int]:
        own, others = made._told
        return [len(own.trials), *(len(one.trials) for one in others)]

    assert told(model(40, 60)) == [40, 60]
    assert told(model(100, 20)) == [100, 20]
    assert told(model(500, 20)) == [MOST_TOLD - 20, 20]
    assert told(model(500, 400)) == [MOST_TOLD // 2, MOST_TOLD // 2]
    many = told(model(300, 4, 300, 300, 300, 300))
    assert many[0] == LEAST_TOLD // 2
    assert many[1] == 4
    assert sum(many) == LEAST_TOLD


def test_a_model_of_many_trials_still_knows_where_the_best_ones_are() -> None:
    rates = [1e-4, 3e-4, 1e-3, 3e-3, 8e-3]
    predicted = model(600, 600).expected([{"learning_rate": rate} for rate in rates])
    assert predicted.argmin() == 2
    assert abs(predicted[2] - 0.3) < 0.03
