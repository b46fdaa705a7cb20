"""An informed engineer: the defaults, then a small grid of learning rates, then one at a time.

An Optuna sampler, so that the engine runs it like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

# Half a decade and a decade each way, in the order in which one would try them.
RATES = (3.0, 1 / 3, 10.0, 0.1)
FINER = (1.7, 1 / 1.7)


class WholeSpace(RandomSampler):
    """Draws at random what a subclass does not choose, which may be any parameter so far."""

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        trials = study.get_trials(deepcopy=False)
        return {name: values for each in trials for name, values in each.distributions.items()}


class Engineer(WholeSpace):
    """Changes one thing at a time about the best trial so far."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not done:
            return {}
        tried = [one.params for one in study.get_trials(deepcopy=False) if one.params]
        searchable = [one for one in done if len(one.params) > 1]
        for best in sorted(searchable, key=lambda one: one.value or 0.0):
            for changed in _changes(best):
                if changed not in tried:
                    return changed
        return {}


def _changes(best: FrozenTrial) -> Iterator[dict[str, Any]]:
    rate = next(name for name in best.params if name.rpartition(".")[2] == "learning_rate")
    yield from _scaled(best, rate, RATES)
    for name, known in best.distributions.items():
        if isinstance(known, CategoricalDistribution) and name != "strategy":
            yield from _next_choices(best, name, known)
    for name in best.params:
        if name.endswith("head_learning_rate") or name.endswith(".r"):
            yield from _scaled(best, name, RATES[:2])
    yield from _scaled(best, rate, FINER)


def _scaled(best: FrozenTrial, name: str, factors: tuple[float, ...]) -> Iterator[dict[str, Any]]:
    known: Any = best.distributions[name]
    for factor in factors:
        value = best.params[name] * factor
        if known.low <= value <= known.high:
            whole = isinstance(best.params[name], int)
            yield {**best.params, name: round(value) if whole else value}


def _next_choices(
    best: FrozenTrial, name: str, known: CategoricalDistribution
) -> Iterator[dict[str, Any]]:
    now = known.choices.index(best.params[name])
    for position in (now + 1, now - 1):
        if 0 <= position < len(known.choices):
            yield {**best.params, name: known.choices[position]}
