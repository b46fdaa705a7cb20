"""Optuna's ``GPSampler``, SMAC and HEBO within each strategy.

By themselves they search the parameters that all trials share, or know no parameters that only
some trials have. Here they see the trials of one strategy at a time. Every second trial belongs to
the strategy that leads, the others to each in turn. SMAC and HEBO are packages of their own.
"""

from __future__ import annotations

import importlib
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import GPSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.search.engineer import WholeSpace
from sweeper.search.optuna_space import STRATEGY

# Completed trials of a strategy before its first model.
STARTUP = 3
Space = Mapping[str, Any]


class ByStrategy(WholeSpace, ABC):
    """A model for each strategy."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(seed)
        self.seed = seed or 0

    @abstractmethod
    def best_next(self, space: Space, own: Sequence[FrozenTrial]) -> dict[str, Any]:
        """What to try next, after these trials of a strategy."""

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
        space = {
            name: known
            for name, known in own[0].distributions.items()
            if name != STRATEGY and not known.single() and all(name in one.params for one in own)
        }
        chosen = self.best_next(space, own) if len(own) >= STARTUP else {}
        return {STRATEGY: key, **chosen}


class GaussianProcess(ByStrategy):
    """Optuna's."""

    def best_next(self, space: Space, own: Sequence[FrozenTrial]) -> dict[str, Any]:
        sampler = GPSampler(
            seed=self.seed + len(own), n_startup_trials=STARTUP, warn_independent_sampling=False
        )
        alone = optuna.create_study()
        alone.add_trials(
            create_trial(
                params={name: one.params[name] for name in space},
                distributions=dict(space),
                value=one.value,
            )
            for one in own
        )
        asked = alone._storage.get_trial(alone._storage.create_new_trial(alone._study_id))
        return sampler.sample_relative(alone, asked, dict(space))


class Smac(ByStrategy):
    """SMAC3's random forest (``smac``)."""

    def best_next(self, space: Space, own: Sequence[FrozenTrial]) -> dict[str, Any]:
        configs, smac = importlib.import_module("ConfigSpace"), importlib.import_module("smac")
        value_of = importlib.import_module("smac.runhistory").TrialValue
        known = configs.ConfigurationSpace(seed=self.seed + len(own))
        for name, one in space.items():
            if isinstance(one, CategoricalDistribution):
                places = list(map(str, range(len(one.choices))))
                known.add(configs.Categorical(name, places))
            else:
                kind = configs.Integer if isinstance(one, IntDistribution) else configs.Float
                known.add(kind(name, (one.low, one.high), log=one.log))
        tried = [
            configs.Configuration(known, values={n: _coded(space[n], t.params[n]) for n in space})
            for t in own
        ]
        with tempfile.TemporaryDirectory() as folder:
            scenario = smac.Scenario(
                known, deterministic=True, n_trials=10_000, seed=self.seed, output_directory=folder
            )
            facade = smac.HyperparameterOptimizationFacade
            first = facade.get_initial_design(scenario, n_configs=0, additional_configs=tried)
            search = facade(
                scenario, _no_target, initial_design=first, overwrite=True, logging_level=False
            )
            costs = dict(zip(tried, (one.value for one in own), strict=True))
            while (asked := search.ask()).config in costs:
                search.tell(asked, value_of(cost=costs[asked.config]))
        return {name: _decoded(space[name], asked.config[name]) for name in space}


class Hebo(ByStrategy):
    """HEBO's warped Gaussian process (``HEBO``)."""

    def best_next(self, space: Space, own: Sequence[FrozenTrial]) -> dict[str, Any]:
        frame = importlib.import_module("pandas").DataFrame
        known = importlib.import_module("hebo.design_space.design_space").DesignSpace()
        known.parse([_hebo_axis(name, one) for name, one in space.items()])
        search = importlib.import_module("hebo.optimizers.hebo").HEBO(
            known, rand_sample=STARTUP, scramble_seed=self.seed
        )
        tried = frame([{n: _coded(space[n], t.params[n]) for n in space} for t in own])
        search.observe(tried, frame([one.value for one in own]).to_numpy())
        row = search.suggest().iloc[0]
        return {name: _decoded(space[name], row[name]) for name in space}


def _no_target(config: Any, seed: int = 0) -> float:
    raise NotImplementedError("SMAC is only asked and told")


def _coded(known: BaseDistribution, value: Any) -> Any:
    """A choice as its place, which may be of any type."""
    if isinstance(known, CategoricalDistribution):
        return str(known.choices.index(value))
    return value


def _decoded(known: BaseDistribution, value: Any) -> Any:
    if isinstance(known, CategoricalDistribution):
        return known.choices[int(value)]
    return int(value) if isinstance(known, IntDistribution) else float(value)


def _hebo_axis(name: str, known: Any) -> dict[str, Any]:
    if isinstance(known, CategoricalDistribution):
        places = list(map(str, range(len(known.choices))))
        return {"name": name, "type": "cat", "categories": places}
    whole = isinstance(known, IntDistribution)
    kind = ("pow_int" if known.log else "int") if whole else "pow" if known.log else "num"
    return {"name": name, "type": kind, "lb": known.low, "ub": known.high}
