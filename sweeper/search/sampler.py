"""The sampler of a study: chooses a strategy, then its configuration.

Every strategy gets its first trials; then the trial with the largest expected improvement is run.
Configurations are drawn from four sources, as in PriorBand (arXiv:2306.12370): the rules' prior,
the neighbourhood of the best trials, the searched range, and the whole allowed range. A cost model
picks among the draws.

The choice for a trial follows from the seed, the trial's number, the trials before it and costs of
untrained models, so that resuming changes nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from optuna.distributions import BaseDistribution

from sweeper.plans import Parameter, ProposedTrial, Space
from sweeper.search import optuna_space
from sweeper.search.cost_model.axes import (
    Axis,
    ChoiceAxis,
    Point,
    Range,
    axis_of,
    cumulative,
    draw_index,
    numbers,
    truncated,
)
from sweeper.search.cost_model.cost_model import CostModel, StudyCosts, Suggestion, Trials
from sweeper.search.cost_model.gaussian_process import Vector, one_thread
from sweeper.search.cost_model.trial_costs import NOTHING, TrialCosts, Untrained, lowest_final
from sweeper.spec import Scalar

# A candidate with fewer ended trials is young: its default is a single draw, and seeds of one
# configuration may differ by more than strategies do. Young candidates together get at least
# YOUNG_SHARE of the searched trials.
ENOUGH_TRIALS = 3
YOUNG_SHARE = 0.5
# A candidate with this many failed trials and no completed one is left out.
FAILURES_ALLOWED = 3

# Shares of draws from the searched and from the allowed range.
SEARCHED_SHARE, ALLOWED_SHARE = 0.2, 0.05
# Share of the other draws from the prior (the rest are near incumbents).
PRIOR_SHARE = 0.5
# Near an incumbent one parameter is moved, and each other one with this probability: with few
# trials, moving many parameters at once says little about each. Measured on simulated tasks, whose
# loss is a formula (benchmarks/findings.md).
MOVE_PROBABILITY = 0.2
# PriorBand moves by a quarter of the searched range. Here half of the moves (``WIDE_SHARE``) are as
# wide as the best-practice range and may leave it, so that a wrong prior is detected early.
NEAR_SPREAD = 0.25
WIDE_SHARE = 0.5
# Until this many trials of a candidate have ended, draws are its best trial with only the first
# learning rate moved, by one of these multiples of the rate's correlation length. On four
# simulated tasks this cut the distance from the best loss, after training worth five full trials,
# from 11.8 to 4.6%.
RATE_TRIALS = 3
RATE_STEPS = (-1.0, -0.5, 0.5, 1.0)
# Number of draws to pick from: before the first trial of a candidate has ended, and after.
EARLY_DRAWS, DRAWS = 8, 128
# Probability that a good configuration has another choice than the best of an earlier study.
OTHER_CHOICE = 0.3
# Weight of an earlier study with the same facts in the prior. Like the rules' prior it has long
# tails and counts less with more trials.
EARLIER_SHARE = 0.5


class SweeperSampler:
    """Samples by the rules' prior, incumbents' neighbourhoods and a cost model per candidate.

    Args:
        space: Candidates, ranges, priors, seed.
        untrained: Costs of untrained models; more may be added.
    """

    def __init__(self, space: Space, untrained: Untrained = NOTHING) -> None:
        self._space, self.untrained = space, untrained
        self._candidates = space.keyed
        distributions = optuna_space.distributions(space)
        self._axes = {key: self._axes_of(key, distributions) for key in self._candidates}
        self._trials: dict[str, Trials] = {}
        pairs = self._candidates.items()
        searchable = [key for key, candidate in pairs if candidate.searchable]
        self._searchable = searchable or list(self._candidates)
        self._proposed = {
            key: trial
            for trial in space.proposed
            for key, candidate in self._candidates.items()
            if (candidate.strategy, candidate.model) == (trial.strategy, trial.model)
        }

    def choose(self, number: int, seen: Sequence[TrialCosts]) -> tuple[str, dict[str, Scalar]]:
        """The key of a trial's candidate, and values of its searched parameters.

        Args:
            number: The trial's number.
            seen: All earlier trials.
        """
        with one_thread():
            return self._choose(number, seen)

    def _choose(self, number: int, seen: Sequence[TrialCosts]) -> tuple[str, dict[str, Scalar]]:
        generator = np.random.default_rng([self._space.seed, number])
        by_key: dict[str, list[TrialCosts]] = defaultdict(list)
        for trial in seen:
            by_key[trial.key].append(trial)
        # A trial that trains only a linear head has the cost at which others on its base start.
        untrained = self.untrained.with_linear_heads(self._candidates, by_key)
        trials = {key: self._trials_of(key, by_key[key], untrained) for key in self._searchable}
        study = statistics_of(seen)

        def suggestion(key: str) -> Suggestion:
            earlier, constants = self._earlier_prior(key, by_key[key]), self._constants(key)
            others = [trials_of for other, trials_of in trials.items() if other != key]
            return Proposals(trials[key], generator, constants, study, earlier, others).best()

        keys = without_failed(self._searchable, by_key)
        undersampled = next_undersampled(keys, by_key)
        if undersampled is not None and (not by_key[undersampled] or not self._axes[undersampled]):
            # The rule book's default comes first, and is all that there is if nothing is searched.
            parameters = self._candidates[undersampled].parameters
            return undersampled, {
                name: parameters[name].default for name in self._axes[undersampled]
            }
        suggestions = {key: suggestion(key) for key in keys} if undersampled is None else {}
        best = undersampled or max(keys, key=lambda key: suggestions[key].score)
        proposal = self._untried_proposal(best, by_key[best])
        return best, proposal or (suggestions.get(best) or suggestion(best)).point

    def _trials_of(self, key: str, seen: Sequence[TrialCosts], untrained: Untrained) -> Trials:
        own, candidate = list(seen), self._candidates[key]
        if any(trial.cost is not None for trial in seen):
            initial = untrained.as_trial(key, candidate, self._axes[key], self._constants(key))
            own += [] if initial is None else [initial]
        # Between two choices most candidates have no new trial, so their Trials are reused.
        if key not in self._trials or self._trials[key].seen != own:
            self._trials[key] = Trials(self._axes[key], own, self._space.budget)
        return self._trials[key]

    def _constants(self, key: str) -> dict[str, Scalar]:
        parameters = self._candidates[key].parameters
        return {name: each.default for name, each in parameters.items() if not each.searched}

    def _axes_of(
        self, key: str, distributions: Mapping[str, BaseDistribution]
    ) -> dict[str, Axis | ChoiceAxis]:
        parameters = self._candidates[key].parameters
        return {
            name: axis_of(name, parameter, distributions[f"{key}.{name}"])
            for name, parameter in parameters.items()
            if parameter.searched
        }

    def _untried_proposal(self, key: str, own: Sequence[TrialCosts]) -> dict[str, Scalar]:
        """The best configuration of an earlier study, if it is the candidate's next trial.

        It replaces the first draw. Empty for later draws, or if the configuration was tried.
        """
        has_drawn = any(trial.searched for trial in own)
        point = {} if has_drawn else self._proposed_point(key)
        return {} if any(trial.parameters == point for trial in own) else point

    def _proposed_point(self, key: str) -> dict[str, Scalar]:
        proposed, candidate = self._proposed.get(key), self._candidates[key]
        if proposed is None:
            return {}
        return candidate.searched(candidate.defaults(proposed.parameters))

    def _earlier_prior(self, key: str, own: Sequence[TrialCosts]) -> ProposedTrial | None:
        """The proposal of an earlier study as a prior, unless it is worse than the default."""
        proposed, point = self._proposed.get(key), self._proposed_point(key)
        if proposed is None:
            return None
        ended = [trial for trial in own if trial.cost is not None or trial.failed]
        tried = [trial for trial in ended if trial.parameters == point]
        defaults = [trial.rank for trial in ended if trial.config.origin == "default"]
        if tried and (tried[0].failed or (defaults and tried[0].rank > min(defaults))):
            return None
        return proposed


def statistics_of(seen: Sequence[TrialCosts]) -> StudyCosts:
    """Statistics over the trials of all candidates: spread and best cost."""
    done = sorted(trial.cost for trial in seen if trial.complete and trial.cost is not None)
    better = done[: max(2, (len(done) + 1) // 2)]
    spread = float(np.std(better)) if len(better) > 1 else 0.0
    return StudyCosts(spread, lowest_final(seen))


def without_failed(keys: Sequence[str], seen: Mapping[str, Sequence[TrialCosts]]) -> list[str]:
    """The candidates that do not always fail; all candidates if all do.

    Args:
        keys: Candidates that can be searched, in the plan's order.
        seen: The trials of each candidate.
    """
    return [key for key in keys if not _always_fails(seen.get(key, ()))] or [*keys]


def _always_fails(trials: Sequence[TrialCosts]) -> bool:
    if any(trial.complete for trial in trials):
        return False
    return sum(1 for trial in trials if trial.failed) >= FAILURES_ALLOWED


def next_undersampled(keys: Sequence[str], seen: Mapping[str, Sequence[TrialCosts]]) -> str | None:
    """The candidate that is next because it has too few trials; None if there is none.

    Args:
        keys: Candidates that can be searched, in the plan's order.
        seen: The trials of each candidate.
    """
    by_key = {key: seen.get(key, ()) for key in keys}
    untried = [key for key in keys if not by_key[key]]
    return untried[0] if untried else _fewest_trials(keys, by_key)


def _fewest_trials(keys: Sequence[str], by_key: Mapping[str, Sequence[TrialCosts]]) -> str | None:
    """The young candidate with the fewest searched trials.

    None if young candidates have had their share of the searched trials.
    """
    searched = {key: sum(trial.searched for trial in by_key[key]) for key in keys}
    # Trials are whole: a candidate has its share if it is at most half a trial below it.
    min_searched = YOUNG_SHARE / len(keys) * sum(searched.values()) - 0.5
    undersampled = [
        key
        for key in keys
        if searched[key] < min_searched
        and sum(trial.cost is not None or trial.failed or trial.running for trial in by_key[key])
        < ENOUGH_TRIALS
    ]
    return min(undersampled, key=lambda key: searched[key], default=None)


@dataclass(frozen=True)
class Proposals:
    """Draws configurations of one candidate, and picks the next one.

    Args:
        own: The candidate's trials, and its searched parameters in the plan's order.
        generator: The only source of randomness.
        constants: Values of the parameters that are not searched, on which conditions may depend.
        study: Statistics over all candidates' trials.
        earlier: The best configuration of an earlier study, as a prior.
        others: Trials of other candidates.
    """

    own: Trials
    generator: np.random.Generator
    constants: Mapping[str, Scalar] = field(default_factory=dict)
    study: StudyCosts = field(default_factory=StudyCosts)
    earlier: ProposedTrial | None = None
    others: Sequence[Trials] = ()

    def best(self) -> Suggestion:
        """The configuration to try next."""
        model = CostModel(self.own, self.log_priors, self.study, self.others)
        if self.own.ended_count:
            only_rate = self._rate is not None and self.own.trained_count < RATE_TRIALS
            draw = self._rate_step if only_rate and self.own.incumbents else self._draw
            return model.pick([draw() for _ in range(DRAWS)])
        point = model.furthest([self._restrict(self._rules_draw()) for _ in range(EARLY_DRAWS)])
        return Suggestion(point, 0.0)  # without ended trials there is no model, and no score

    @cached_property
    def _rate(self) -> Axis | None:
        # The first rate: strategies list the most important parameters first.
        rates = (
            axis for axis in self.own.axes.values() if isinstance(axis, Axis) and axis.is_log_float
        )
        return next(rates, None)

    def _rate_step(self) -> Point:
        """The best trial with only its rate moved."""
        incumbent, rate = self.own.incumbents[0].parameters, self._rate
        assert rate is not None
        step = rate.length * float(self.generator.choice(RATE_STEPS))
        position = rate.unit(incumbent.get(rate.name, rate.parameter.default)) + step
        moved = {rate.name: rate.value(position)}
        return self._restrict({**self._rules_draw(), **incumbent, **moved})

    def log_priors(self, points: Sequence[Point]) -> Vector:
        """Log densities under the priors of rules and earlier studies; shape ``(n,)``."""
        total = np.zeros(len(points))
        for name, axis in self.own.axes.items():
            # NaN if the parameter's condition does not hold.
            total += np.nan_to_num(axis.log_priors([point.get(name) for point in points]))
        if self.earlier is None:
            return total
        share = EARLIER_SHARE * self.earlier.weight
        earlier = math.log(share) + self._earlier_log_density(self.earlier, points)
        return np.logaddexp(math.log(1 - share) + total, earlier)

    def _earlier_log_density(self, earlier: ProposedTrial, points: Sequence[Point]) -> Vector:
        """Log density of configurations around the earlier best, as wide as the rules' prior."""
        total = np.zeros(len(points))
        for name, axis in self.own.axes.items():
            values = [point.get(name) for point in points]
            if name not in earlier.parameters:
                densities = axis.log_priors(values)
            elif isinstance(axis, ChoiceAxis):
                is_same = np.asarray([value == earlier.parameters[name] for value in values])
                densities = np.log(np.where(is_same, 1 - OTHER_CHOICE, OTHER_CHOICE))
            else:
                spread = axis.prior[1]
                distances = axis.units(numbers(values)) - axis.unit(earlier.parameters[name])
                densities = -np.log(math.pi * spread * (1 + (distances / spread) ** 2))
            has_value = np.asarray([value is not None for value in values])
            total += np.where(has_value, densities, 0.0)
        return total

    @cached_property
    def _near_spreads(self) -> dict[str, float]:
        ranges = self.own.ranges.items()
        return {name: max(NEAR_SPREAD * (high - low), 1e-3) for name, (low, high) in ranges}

    def _draw(self) -> Point:
        """A draw from one of the four sources."""
        chance, axes = self.generator.random(), self.own.axes.items()
        if chance < ALLOWED_SHARE:
            point = {name: axis.draw_any(self.generator) for name, axis in axes}
        elif chance < ALLOWED_SHARE + SEARCHED_SHARE:
            point = {n: axis.draw_searched(self._range(n), self.generator) for n, axis in axes}
        elif not self.own.incumbents or self.generator.random() < PRIOR_SHARE:
            point = self._prior_draw()
        else:
            point = self._near_incumbent()
        return self._restrict(point)

    def _prior_draw(self) -> Point:
        """A draw from the rules' prior, or near the best configuration of an earlier study."""
        point = self._rules_draw()
        if self.earlier is None:
            return point
        if self.generator.random() >= EARLIER_SHARE * self.earlier.weight:
            return point
        for name, value in self.earlier.parameters.items():
            axis = self.own.axes.get(name)
            if isinstance(axis, Axis):
                density = (axis.unit(value), axis.prior[1])
                point[name] = axis.value(truncated(density, (0.0, 1.0), self.generator))
            elif axis is not None:
                point[name] = value
        return point

    @cached_property
    def _conditional(self) -> list[tuple[str, Parameter]]:
        named = [(name, axis.parameter) for name, axis in self.own.axes.items()]
        return [(name, parameter) for name, parameter in named if parameter.condition is not None]

    def _restrict(self, point: Point) -> Point:
        """The point without parameters whose condition does not hold."""
        values: Point = {**self.constants, **point}
        for name, parameter in self._conditional:
            if not parameter.holds(values):
                del values[name]
        return {name: values[name] for name in self.own.axes if name in values}

    def _rules_draw(self) -> Point:
        """A draw from the rules' prior, cut to the searched ranges."""
        return {
            name: axis.draw_prior(self._range(name), self.generator)
            for name, axis in self.own.axes.items()
        }

    def _range(self, name: str) -> Range:
        return self.own.ranges.get(name, (0.0, 1.0))

    @cached_property
    def _rank_weights(self) -> list[float]:
        return cumulative(range(len(self.own.incumbents), 0, -1))

    def _near_incumbent(self) -> Point:
        """One of the best trials, with some of its parameters moved."""
        incumbent = self.own.incumbents[draw_index(self._rank_weights, self.generator)].parameters
        names = list(self.own.axes)
        count = 1 + int(self.generator.binomial(len(names) - 1, MOVE_PROBABILITY))
        moved_names = {names[k] for k in self.generator.permutation(len(names))[:count]}
        changes = {
            name: self._moved_value(name, axis, incumbent)
            for name, axis in self.own.axes.items()
            if name in moved_names or name not in incumbent
        }
        return {**incumbent, **changes}

    def _moved_value(
        self, name: str, axis: Axis | ChoiceAxis, incumbent: Mapping[str, Scalar]
    ) -> Scalar:
        # The parameter's condition may not hold at the incumbent.
        if name not in incumbent or isinstance(axis, ChoiceAxis):
            return axis.draw_prior(self._range(name), self.generator)
        low, high = self.own.ranges[name]
        center = axis.unit(incumbent[name])
        if self.generator.random() < WIDE_SHARE:
            step = axis.width * self.generator.normal()
            return axis.value(min(1.0, max(0.0, center + step)))
        within = (min(low, center), max(high, center))
        return axis.value(truncated((center, self._near_spreads[name]), within, self.generator))
