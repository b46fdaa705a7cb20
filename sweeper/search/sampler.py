"""The sampler of a study: which strategy, then which configuration of it.

An Optuna sampler without state: all it knows it reads from the study, so that any number of
workers and resumptions act as one. The choice for a trial follows from the seed, the trial's
number and the trials before it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from sweeper.planning.plan import Plan
from sweeper.search import space
from sweeper.search.axis import Axis, Choice, axis_of
from sweeper.search.bandit import next_candidate
from sweeper.search.curves import jitter
from sweeper.search.observations import Observation, observe
from sweeper.search.proposals import Proposals
from sweeper.spec import Scalar


class SweeperSampler(BaseSampler):
    """Rules' prior, incumbents' neighbourhood and a model of what was seen, per strategy.

    Args:
        plan: The frozen plan: candidates, ranges, priors, seed.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._candidates = space.candidates(plan)
        self._known = space.distributions(plan)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._known

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        generator = self._generator(trial)
        seen = self._seen(study, trial)
        key = self._strategy(trial, seen)
        point = self._point(key, seen, generator)
        return {space.STRATEGY: key} | {f"{key}.{name}": value for name, value in point.items()}

    def _generator(self, trial: FrozenTrial) -> np.random.Generator:
        return np.random.default_rng([self._plan.seed, trial.number])

    def _seen(self, study: optuna.Study, trial: FrozenTrial) -> list[Observation]:
        trials = study.get_trials(deepcopy=False)
        return [one for one in observe(trials) if one.number != trial.number]

    def _strategy(self, trial: FrozenTrial, seen: list[Observation]) -> str:
        fixed = trial.system_attrs.get("fixed_params", {})
        given = trial.params.get(space.STRATEGY, fixed.get(space.STRATEGY))
        if given is not None:
            return str(given)
        keys = [key for key, one in self._candidates.items() if space.searchable(one)]
        scores = {key: one.score for key, one in self._candidates.items()}
        return next_candidate(keys or list(self._candidates), seen, scores)

    def _axes(self, key: str) -> dict[str, Axis | Choice]:
        parameters = self._candidates[key].parameters
        return {
            name: axis_of(name, parameter, self._known[f"{key}.{name}"])
            for name, parameter in parameters.items()
            if parameter.searched
        }

    def _point(
        self, key: str, seen: list[Observation], generator: np.random.Generator
    ) -> dict[str, Scalar]:
        candidate = self._candidates[key]
        own = [one for one in seen if one.key == key]
        if not own:  # the rule book's best guess is tried before anything is searched
            defaults = {name: one.default for name, one in candidate.parameters.items()}
            return {name: defaults[name] for name in self._axes(key)}
        constants = {
            name: one.default for name, one in candidate.parameters.items() if not one.searched
        }
        noise = jitter(seen, self._plan.budget.rungs)
        return Proposals(self._axes(key), own, generator, constants, noise).best()

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        # Asked only where a trial that was interrupted half suggested meets another condition
        # than was drawn now.
        if param_name == space.STRATEGY:
            return self._strategy(trial, self._seen(study, trial))
        key, _, name = param_name.rpartition(".")  # a model's name may hold dots
        axis = self._axes(key)[name]
        generator = self._generator(trial)
        if isinstance(axis, Choice):
            return axis.draw_prior(generator)
        return axis.value(axis.draw_prior(axis.practice, generator))
