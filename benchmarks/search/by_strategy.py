"""Optuna's ``GPSampler`` within each strategy.

By itself it searches the parameters that all trials share. Here it sees the trials of one strategy
at a time. Every second trial belongs to the strategy that leads, the others to each in turn.
"""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.search.engineer import WholeSpace
from sweeper.search.optuna_space import STRATEGY

# Completed trials of a strategy before its first model.
STARTUP = 3


class GaussianProcess(WholeSpace):
    """A Gaussian process for each strategy."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.seed = seed or 0

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if STRATEGY in trial.system_attrs.get("fixed_params", {}):
            return {}
        done = [
            one for one in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
            if len(one.params) > 1
        ]  # fmt: skip
        keys = list(dict.fromkeys(one.params[STRATEGY] for one in done))
        if not keys:
            return {}
        best = min(done, key=lambda one: one.value or 0.0).params[STRATEGY]
        key = best if trial.number % 2 else keys[trial.number // 2 % len(keys)]
        own = [one for one in done if one.params[STRATEGY] == key]
        if len(own) < STARTUP:
            return {STRATEGY: key}
        space = {
            name: known
            for name, known in own[0].distributions.items()
            if name != STRATEGY and not known.single() and all(name in one.params for one in own)
        }
        sampler = GPSampler(
            seed=self.seed + len(own), n_startup_trials=STARTUP, warn_independent_sampling=False
        )
        alone = optuna.create_study()
        alone.add_trials(
            create_trial(
                params={name: one.params[name] for name in space},
                distributions=space,
                value=one.value,
            )
            for one in own
        )
        asked = alone._storage.get_trial(alone._storage.create_new_trial(alone._study_id))
        return {STRATEGY: key, **sampler.sample_relative(alone, asked, space)}
