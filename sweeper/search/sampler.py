"""The sampler of a study: chooses a strategy, then its configuration.

Every strategy gets its first trials, whatever its expected improvement; then the trial that
promises most is tried.

An Optuna sampler without state: all it knows it reads from the study, so that any number of
workers and resumptions act as one. The choice for a trial follows from the seed, the trial's
number and the trials before it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from sweeper.search import optuna_space
from sweeper.search.loss_model.axes import Axis, ChoiceAxis, axis_of
from sweeper.search.loss_model.gaussian_process import one_thread
from sweeper.search.loss_model.learning_curves import jitter
from sweeper.search.loss_model.loss_model import Promise, StudyLosses, Trials
from sweeper.search.loss_model.observations import History, Observation
from sweeper.search.loss_model.untrained import Untrained, noted
from sweeper.search.optuna_space import Problem, objective_of
from sweeper.search.proposals import Proposals, TransferredPrior
from sweeper.spec import Scalar


class SweeperSampler(BaseSampler):
    """Rules' prior, incumbents' neighbourhood and a model of what was seen, per strategy.

    Args:
        problem: A plan, or a space: candidates, ranges, priors, seed.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.objective = objective_of(problem)
        self._history = History(problem.budget, self.objective)
        self._candidates = optuna_space.candidates(problem)
        self._known = optuna_space.distributions(problem)
        self._axes = {key: self._axes_of(key) for key in self._candidates}
        self._trials: dict[str, Trials] = {}
        searchable = [key for key, one in self._candidates.items() if optuna_space.searchable(one)]
        self._searchable = searchable or list(self._candidates)
        self._hints = optuna_space.hints(problem)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._known

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        study = _whole(study)
        with one_thread():
            key, point = self._choose(trial, self._others(study, trial), noted(study))
        return {optuna_space.STRATEGY: key} | {
            f"{key}.{name}": value for name, value in point.items()
        }

    def _choose(
        self, trial: FrozenTrial, seen: Sequence[Observation], untrained: Untrained
    ) -> tuple[str, dict[str, Scalar]]:
        situation = self._situation(seen, self._generator(trial), untrained)
        keys = alive(self._searchable, situation.by_key)
        scores = {key: one.score for key, one in self._candidates.items()}
        turn = self._given(trial) or in_turn(keys, situation.by_key, scores)
        if turn is not None:
            return turn, self._point(turn, situation)
        promises = {key: self._promise(key, situation) for key in keys}
        best = max(keys, key=lambda key: promises[key].score)
        return best, self._hinted(best, situation.of(best)) or promises[best].point

    def _given(self, trial: FrozenTrial) -> str | None:
        fixed = trial.system_attrs.get("fixed_params", {})
        given = trial.params.get(optuna_space.STRATEGY, fixed.get(optuna_space.STRATEGY))
        return None if given is None else str(given)

    def _generator(self, trial: FrozenTrial) -> np.random.Generator:
        return np.random.default_rng([self._problem.seed, trial.number])

    def seen(self, study: optuna.Study) -> list[Observation]:
        """All trials of a study that have a strategy."""
        return self._history.of(study.get_trials(deepcopy=False))

    def _others(self, study: optuna.Study, trial: FrozenTrial) -> list[Observation]:
        return [one for one in self.seen(study) if one.number != trial.number]

    def _situation(
        self, seen: Sequence[Observation], generator: np.random.Generator, untrained: Untrained
    ) -> _Situation:
        by_key: dict[str, list[Observation]] = defaultdict(list)
        for one in seen:
            by_key[one.key].append(one)
        before = untrained.with_heads(self._candidates, by_key)
        trials = {key: self._trials_of(key, by_key[key], before) for key in self._searchable}
        return _Situation(by_key, trials, known_of(seen), generator)

    def _trials_of(self, key: str, seen: Sequence[Observation], untrained: Untrained) -> Trials:
        own, candidate = list(seen), self._candidates[key]
        if any(one.loss is not None for one in seen):
            unmoved = untrained.as_trial(key, candidate, self._axes[key], self._constants(key))
            own += [] if unmoved is None else [unmoved]
        # Between two choices most candidates have no new trial, and what follows from theirs stays.
        if key not in self._trials or self._trials[key].seen != own:
            self._trials[key] = Trials(self._axes[key], own, self._problem.budget)
        return self._trials[key]

    def _constants(self, key: str) -> dict[str, Scalar]:
        parameters = self._candidates[key].parameters
        return {name: one.default for name, one in parameters.items() if not one.searched}

    def _axes_of(self, key: str) -> dict[str, Axis | ChoiceAxis]:
        parameters = self._candidates[key].parameters
        return {
            name: axis_of(name, parameter, self._known[f"{key}.{name}"])
            for name, parameter in parameters.items()
            if parameter.searched
        }

    def _point(self, key: str, situation: _Situation) -> dict[str, Scalar]:
        own = situation.of(key)
        if not self._axes[key] or not own:
            # The rule book's best guess is tried before anything is searched.
            parameters = self._candidates[key].parameters
            return {name: parameters[name].default for name in self._axes[key]}
        return self._hinted(key, own) or self._promise(key, situation).point

    def _hinted(self, key: str, own: Sequence[Observation]) -> dict[str, Scalar]:
        """The best configuration of an earlier study, once, as this candidate's first draw."""
        drawn = [one for one in own if one.origin == "search"]
        point = self._hint_point(key) if not drawn else {}
        return {} if any(one.parameters == point for one in own) else point

    def _hint_point(self, key: str) -> dict[str, Scalar]:
        hint, candidate = self._hints.get(key), self._candidates[key]
        if hint is None:
            return {}
        chosen = optuna_space.fixed(key, candidate, hint.parameters)
        names = [name for name in candidate.parameters if f"{key}.{name}" in chosen]
        return {name: chosen[f"{key}.{name}"] for name in names}

    def _earlier(self, key: str, own: Sequence[Observation]) -> TransferredPrior | None:
        """The earlier study as a prior, until its best is worse than the default here."""
        hint, point = self._hints.get(key), self._hint_point(key)
        if hint is None:
            return None
        ended = [one for one in own if one.loss is not None or one.failed]
        tried = [one for one in ended if one.parameters == point]
        default = min((one.rank for one in ended if one.origin == "default"), default=None)
        if tried and (tried[0].failed or (default is not None and tried[0].rank > default)):
            return None
        return TransferredPrior(hint.parameters, hint.similarity)

    def _promise(self, key: str, situation: _Situation) -> Promise:
        return Proposals(
            situation.trials[key],
            situation.generator,
            self._constants(key),
            situation.known,
            self._earlier(key, situation.of(key)),
            [one for other, one in situation.trials.items() if other != key],
        ).best()

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        # Asked only where a trial that was interrupted half suggested meets another condition
        # than was drawn now.
        if param_name == optuna_space.STRATEGY:
            study = _whole(study)
            return self._choose(trial, self._others(study, trial), noted(study))[0]
        key, _, name = param_name.rpartition(".")  # a model's name may hold dots
        axis = self._axes[key][name]
        generator = self._generator(trial)
        if isinstance(axis, ChoiceAxis):
            return axis.draw_prior(generator)
        return axis.value(axis.draw_prior(axis.practice, generator))


@dataclass(frozen=True)
class _Situation:
    """The data for one choice.

    Args:
        by_key: The trials of each candidate.
        trials: Those of searched candidates, as models are told of them.
        known: What all trials say together.
        generator: The only source of chance.
    """

    by_key: Mapping[str, Sequence[Observation]]
    trials: Mapping[str, Trials]
    known: StudyLosses
    generator: np.random.Generator

    def of(self, key: str) -> Sequence[Observation]:
        """The candidate's trials."""
        return self.by_key.get(key, ())


def _whole(study: optuna.Study) -> optuna.Study:
    # Hyperband shows a sampler one bracket's trials alone, and hides what is noted of the study.
    whole: optuna.Study = getattr(study, "_study", study)
    return whole


def known_of(seen: Sequence[Observation]) -> StudyLosses:
    """Figures over the trials of all candidates: best loss, spread, noise."""
    complete = [one for one in seen if one.complete and one.loss is not None]
    done = sorted(one.loss for one in complete if one.loss is not None)
    better = done[: max(2, (len(done) + 1) // 2)]
    spread = float(np.std(better)) if len(better) > 1 else 0.0
    best = min(
        (one.loss for one in complete if one.loss is not None and one.keeps), default=math.inf
    )
    return StudyLosses(jitter(seen), spread, best)


# A candidate is not judged by fewer trials than these: its default is one draw, and seeds of one
# configuration may differ by more than strategies do. Candidates that have fewer get a part of the
# searched trials at least, which all of them together do not exceed.
JUDGED_FROM = 3
YOUNG_SHARE = 0.5
# A candidate that failed this often and never ended well is left out.
FAILURES_ALLOWED = 3


def alive(keys: Sequence[str], seen: Mapping[str, Sequence[Observation]]) -> list[str]:
    """The candidates with a trial that did not fail; all of them if there is none.

    Args:
        keys: Candidates that can be searched, in the plan's order.
        seen: The trials of each.
    """
    return [key for key in keys if not _hopeless(seen.get(key, ()))] or [*keys]


def _hopeless(trials: Sequence[Observation]) -> bool:
    if any(one.complete for one in trials):
        return False
    return sum(1 for one in trials if one.failed) >= FAILURES_ALLOWED


def in_turn(
    keys: Sequence[str], seen: Mapping[str, Sequence[Observation]], scores: Mapping[str, float]
) -> str | None:
    """The candidate with too few trials; None where no candidate has a turn to come.

    Args:
        keys: Candidates that can be searched, in the plan's order.
        seen: The trials of each.
        scores: The rules' weights, which decide between untried ones.
    """
    by_key = {key: seen.get(key, ()) for key in keys}
    untried = [key for key in keys if not by_key[key]]
    return max(untried, key=lambda key: scores[key]) if untried else _young(keys, by_key)


def _young(keys: Sequence[str], by_key: Mapping[str, Sequence[Observation]]) -> str | None:
    """The candidate with the fewest searched trials among those below the minimum.

    None where others have not had so many in between that it is due.
    """
    searched = {key: sum(one.origin == "search" for one in by_key[key]) for key in keys}
    due = YOUNG_SHARE / len(keys) * sum(searched.values()) - 0.5
    behind = [
        key
        for key in keys
        if searched[key] < due
        and sum(one.loss is not None or one.failed or one.running for one in by_key[key])
        < JUDGED_FROM
    ]
    return min(behind, key=lambda key: searched[key], default=None)
