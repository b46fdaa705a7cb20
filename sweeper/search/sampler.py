"""The sampler of a study: which strategy, then which configuration of it.

An Optuna sampler without state: all it knows it reads from the study, so that any number of
workers and resumptions act as one. The choice for a trial follows from the seed, the trial's
number and the trials before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from sweeper.search import bandit, space
from sweeper.search.axis import Axis, Choice, axis_of
from sweeper.search.curves import jitter
from sweeper.search.earlier import Earlier
from sweeper.search.length import Full
from sweeper.search.model import Beside, Known, Promise
from sweeper.search.observations import Observation, observe
from sweeper.search.problem import Arm, Problem
from sweeper.search.proposals import Proposals
from sweeper.search.untrained import Untrained, noted
from sweeper.spec import Scalar


class SweeperSampler(BaseSampler):
    """Rules' prior, incumbents' neighbourhood and a model of what was seen, per strategy.

    Args:
        plan: The frozen plan, or a space: candidates, ranges, priors, seed.
    """

    def __init__(self, plan: Problem[Arm]) -> None:
        self._plan = plan
        self._candidates = space.candidates(plan)
        self._known = space.distributions(plan)
        searchable = [key for key, one in self._candidates.items() if space.searchable(one)]
        self._searchable = searchable or list(self._candidates)
        self._hints = space.hints(plan)

    @property
    def problem(self) -> Problem[Arm]:
        """What it searches."""
        return self._plan

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._known

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        generator, study = self._generator(trial), _whole(study)
        seen = self._seen(study, trial)
        key, point = self._choose(trial, seen, generator, noted(study))
        return {space.STRATEGY: key} | {f"{key}.{name}": value for name, value in point.items()}

    def _choose(
        self,
        trial: FrozenTrial,
        seen: list[Observation],
        generator: np.random.Generator,
        untrained: Untrained,
    ) -> tuple[str, dict[str, Scalar]]:
        given = self._given(trial)
        keys = bandit.alive(self._searchable, seen)
        scores = {key: one.score for key, one in self._candidates.items()}
        turn = given or bandit.in_turn(keys, seen, scores)
        if turn is not None:
            return turn, self._point(turn, seen, generator, untrained)
        promises = {key: self._promise(key, seen, generator, untrained) for key in keys}
        best = max(keys, key=lambda key: promises[key].score)
        return best, self._hinted(best, seen) or promises[best].point

    def untried(self, seen: Sequence[Observation]) -> list[str]:
        """The candidates that have a turn to come before any promise counts."""
        tried = {one.key for one in seen}
        return [key for key in self._searchable if key not in tried]

    def promises(
        self, seen: Sequence[Observation], seed: int, untrained: Untrained
    ) -> dict[str, Promise]:
        """What each candidate that was tried promises, after these trials.

        Args:
            seen: The trials.
            seed: Their number, or whatever else makes the draws differ.
            untrained: What is known of models that were not trained.
        """
        generator = np.random.default_rng([self._plan.seed, seed])
        tried = {one.key for one in seen if one.loss is not None}
        keys = [key for key in bandit.alive(self._searchable, seen) if key in tried]
        return {key: self._promise(key, seen, generator, untrained) for key in keys}

    def _given(self, trial: FrozenTrial) -> str | None:
        fixed = trial.system_attrs.get("fixed_params", {})
        given = trial.params.get(space.STRATEGY, fixed.get(space.STRATEGY))
        return None if given is None else str(given)

    def _generator(self, trial: FrozenTrial) -> np.random.Generator:
        return np.random.default_rng([self._plan.seed, trial.number])

    def _seen(self, study: optuna.Study, trial: FrozenTrial) -> list[Observation]:
        trials = study.get_trials(deepcopy=False)
        return [one for one in observe(trials, self._plan.budget) if one.number != trial.number]

    def _axes(self, key: str) -> dict[str, Axis | Choice]:
        parameters = self._candidates[key].parameters
        return {
            name: axis_of(name, parameter, self._known[f"{key}.{name}"])
            for name, parameter in parameters.items()
            if parameter.searched
        }

    def _point(
        self,
        key: str,
        seen: list[Observation],
        generator: np.random.Generator,
        untrained: Untrained,
    ) -> dict[str, Scalar]:
        axes = self._axes(key)
        if not axes or all(one.key != key for one in seen):
            # The rule book's best guess is tried before anything is searched.
            parameters = self._candidates[key].parameters
            return {name: parameters[name].default for name in axes}
        return self._hinted(key, seen) or self._promise(key, seen, generator, untrained).point

    def _hinted(self, key: str, seen: Sequence[Observation]) -> dict[str, Scalar]:
        """What an earlier study found best, once: it is this candidate's first draw."""
        drawn = [one for one in seen if one.key == key and one.origin == "search"]
        point = self._hint_point(key) if not drawn else {}
        tried = any(one.key == key and one.parameters == point for one in seen)
        return {} if tried else point

    def _hint_point(self, key: str) -> dict[str, Scalar]:
        hint, candidate = self._hints.get(key), self._candidates[key]
        if hint is None:
            return {}
        chosen = space.fixed(key, candidate, hint.parameters)
        names = [name for name in candidate.parameters if f"{key}.{name}" in chosen]
        return {name: chosen[f"{key}.{name}"] for name in names}

    def _earlier(self, key: str, own: Sequence[Observation]) -> Earlier | None:
        """The earlier study as a belief: until its best turns out worse than the default here."""
        hint, point = self._hints.get(key), self._hint_point(key)
        if hint is None:
            return None
        ended = [one for one in own if one.loss is not None or one.failed]
        tried = [one for one in ended if one.parameters == point]
        default = min((one.rank for one in ended if one.origin == "default"), default=None)
        if tried and (tried[0].failed or (default is not None and tried[0].rank > default)):
            return None
        return Earlier(hint.parameters, hint.similarity)

    def _promise(
        self,
        key: str,
        seen: Sequence[Observation],
        generator: np.random.Generator,
        untrained: Untrained,
    ) -> Promise:
        parameters = self._candidates[key].parameters
        constants = {name: one.default for name, one in parameters.items() if not one.searched}
        own = [one for one in seen if one.key == key]
        known = known_of(seen, self._plan.budget)
        earlier = self._earlier(key, own)
        others = [
            Beside(self._axes(other), [one for one in seen if one.key == other])
            for other in self._searchable
            if other != key
        ]
        axes = self._axes(key)
        if any(one.loss is not None for one in own):
            known_before = untrained.with_heads(self._candidates, seen)
            unmoved = known_before.as_trial(key, self._candidates[key], axes, constants)
            own += [] if unmoved is None else [unmoved]
        return Proposals(axes, own, generator, constants, known, earlier, others).best()

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
            study = _whole(study)
            seen, generator = self._seen(study, trial), self._generator(trial)
            return self._choose(trial, seen, generator, noted(study))[0]
        key, _, name = param_name.rpartition(".")  # a model's name may hold dots
        axis = self._axes(key)[name]
        generator = self._generator(trial)
        if isinstance(axis, Choice):
            return axis.draw_prior(generator)
        return axis.value(axis.draw_prior(axis.practice, generator))


def _whole(study: optuna.Study) -> optuna.Study:
    # Hyperband shows a sampler one bracket's trials alone, and hides what is noted of the study.
    whole: optuna.Study = getattr(study, "_study", study)
    return whole


def known_of(seen: Sequence[Observation], full: Full) -> Known:
    """What all candidates' trials say together."""
    done = sorted(one.loss for one in seen if one.complete and one.loss is not None)
    better = done[: max(2, (len(done) + 1) // 2)]
    spread = float(np.std(better)) if len(better) > 1 else 0.0
    kept = (one.loss for one in seen if one.complete and one.keeps and one.loss is not None)
    best = min(kept, default=math.inf)
    return Known(jitter(seen), spread, best, full.rungs, full.epochs)
