"""The search of one study: ask for a trial, report its rungs, tell its end.

Its first trials are defaults, then the user's own configurations. Then the sampler chooses. The
search is kept in memory. The caller restores earlier trials; with the same seed and earlier trials,
the next choice is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.constraints import Limit, excess
from sweeper.objective import Objective
from sweeper.plans import Plan, Space, StrategySpace
from sweeper.search import optuna_space
from sweeper.search.loss_model.observations import (
    CONSTRAINT,
    FAILURE,
    ORIGIN,
    RUNG_LOSS,
    SECONDS,
    VALIDATION_LOSS,
    Observation,
    attribute,
)
from sweeper.search.loss_model.untrained import NOTHING, Untrained
from sweeper.search.named import OURS, make_pruner, make_sampler
from sweeper.search.pruner import PruningDecision, decide
from sweeper.search.sampler import SweeperSampler
from sweeper.spec import Scalar
from sweeper.trials import Origin, RungReport, Trial, TrialResult


@dataclass
class Search:
    """One study in memory.

    Args:
        space: Candidates, rungs, seed. A plan is one.
        starts: What is tried before the sampler chooses, in order.
        limits: Those of the call, which trials are held to.
        sampler: ``sweeper``, ``optuna:TPESampler``, ``package.module:Class``, with options in
            brackets.
        pruner: Likewise.
        untrained: Losses that are known before any trial.

    Attributes:
        study: In memory, with values and direction of the objective; may be looked at, and is
            changed by this object alone.
        objective: What the study improves.
        untried: The starts that are still to be tried, in order.
        candidates: By what the study calls them, in the plan's order.

    Raises:
        SpecError: Sampler or pruner cannot be made.
    """

    space: Space
    starts: Sequence[Trial] = ()
    sampler: str = "sweeper"
    pruner: str = "sweeper"
    untrained: Untrained = NOTHING
    limits: Sequence[Limit] = ()
    study: optuna.Study = field(init=False)
    objective: Objective = field(init=False)
    untried: list[Trial] = field(init=False)
    candidates: Mapping[str, StrategySpace] = field(init=False)
    _distributions: Mapping[str, BaseDistribution] = field(init=False)
    _ours: SweeperSampler = field(init=False)
    _samplers: dict[int, BaseSampler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.untried = list(self.starts)
        self.candidates = optuna_space.candidates(self.space)
        self._distributions = optuna_space.distributions(self.space)
        self._ours = SweeperSampler(self.space, self.untrained)
        # Hyperband deals out its brackets by the study's name.
        name = f"seed {self.space.seed}"
        pruner = make_pruner(self.pruner, self.space)
        self.objective = self.space.objective
        higher = self.objective.higher_is_better
        direction = StudyDirection.MAXIMIZE if higher else StudyDirection.MINIMIZE
        self.study = optuna.create_study(study_name=name, pruner=pruner, direction=direction)

    def learn(self, untrained: Untrained) -> None:
        """Add losses of untrained models."""
        self._ours.untrained |= untrained

    def restore(
        self, trial: Trial, reports: Sequence[RungReport] = (), result: TrialResult | None = None
    ) -> None:
        """Add a trial of an earlier call, in the order of numbers, before any ``ask``.

        Args:
            result: None where it has not ended and is to be tried again.
        """
        params = self._searched(trial)
        known = {name: self._distributions[name] for name in params}
        origin = {ORIGIN: trial.origin}
        running = create_trial(
            state=TrialState.RUNNING, params=params, distributions=known, user_attrs=origin
        )
        self.study.add_trial(running)
        for report in reports:
            self._note(trial.number, report)
        began = next((start for start in self.untried if self._began_as(trial, start)), None)
        if began is not None:
            self.untried.remove(began)
        if result is None:
            self._samplers[trial.number] = self._sampler(trial.number)
        else:
            self._end(trial.number, result)

    def ask(self) -> Trial:
        """The next trial: an untried start, or what the sampler chooses."""
        start = self.untried.pop(0) if self.untried else None
        origin: Origin = start.origin if start else "search"
        fixed, overrides = self._split(start) if start else ({}, {})
        self.study.enqueue_trial(fixed, user_attrs={ORIGIN: origin})
        number = len(self.study.get_trials(deepcopy=False)) - 1
        self.study.sampler = self._samplers[number] = self._sampler(number)
        trial = self.study.ask()
        key, parameters = optuna_space.suggest(trial, self.space, overrides)
        candidate = self.candidates[key]
        if start is None and trial.params == optuna_space.fixed(key, candidate, {}):
            # Too few trials for all defaults: the sampler begins with them, too.
            origin = "default"
            trial.set_user_attr(ORIGIN, origin)
        return Trial(
            number=trial.number,
            strategy=candidate.strategy,
            model=candidate.model,
            parameters=parameters,
            origin=origin,
        )

    def report(self, number: int, report: RungReport) -> PruningDecision:
        """Record one rung of a running trial, and decide whether it goes on."""
        self._note(number, report)
        keys = optuna_space.one_trial_keys(self.space)
        return decide(self.study, self.trial(number), keys, self.objective)

    def restart(self, number: int, reports: Sequence[RungReport] = ()) -> None:
        """Begin an interrupted trial again; only these of its rungs count."""
        trial = self.trial(number)  # in memory, this is the trial itself
        origin = trial.user_attrs[ORIGIN]
        trial.intermediate_values, trial.user_attrs = {}, {}
        self.study._storage.set_trial_user_attr(trial._trial_id, ORIGIN, origin)
        for report in reports:
            self._note(number, report)

    def tell(self, number: int, result: TrialResult) -> None:
        """End a trial."""
        self._end(number, result, self._samplers.pop(number))

    def _end(self, number: int, result: TrialResult, sampler: BaseSampler | None = None) -> None:
        storage, trial = self.study._storage, self.trial(number)
        attributes: dict[str, object] = {SECONDS: result.seconds}
        if result.failure:
            attributes[FAILURE] = result.failure.kind
        if not self.objective.is_loss and result.validation_loss is not None:
            attributes[VALIDATION_LOSS] = result.validation_loss
        for name, kept in attributes.items():
            storage.set_trial_user_attr(trial._trial_id, name, kept)
        if (beyond := excess(result.measures, self.limits)) is not None:
            storage.set_trial_system_attr(trial._trial_id, CONSTRAINT, beyond)
        value = self._value(result, trial.intermediate_values)
        state, values = TrialState[result.state], None if value is None else [value]
        if sampler is not None:
            sampler.after_trial(self.study, trial, state, values)
        storage.set_trial_state_values(trial._trial_id, state, values)

    def seen(self) -> list[Observation]:
        """All trials by number, as sampler and pruner see them."""
        return self._ours.seen(self.study)

    def _note(self, number: int, report: RungReport) -> None:
        """Keep a report: the objective if it is measured at rungs, else the loss."""
        storage, trial_id = self.study._storage, self.trial(number)._trial_id
        by_loss = self.objective.is_loss or not self.objective.at_rungs
        value, attributes = None if by_loss else report.objective, dict[str, object]()
        if value is not None:
            attributes[f"{RUNG_LOSS}{report.rung}"] = report.validation_loss
        else:
            value = self.objective.at_rung(report.validation_loss)
        if report.first_items is not None:
            attributes |= dict([attribute(report.rung, report.first_items)])
        storage.set_trial_intermediate_value(trial_id, report.rung, value)
        for name, kept in attributes.items():
            storage.set_trial_user_attr(trial_id, name, kept)

    def _value(self, result: TrialResult, reported: Mapping[int, float]) -> float | None:
        """The end's value in the study: of a pruned trial, that of its last rung."""
        if result.state == "COMPLETE":
            return self.objective.measured(result)
        last = reported[max(reported)] if result.state == "PRUNED" and reported else math.nan
        return last if math.isfinite(last) else None

    def trial(self, number: int) -> FrozenTrial:
        """A trial as Optuna has it; it changes as the trial goes on."""
        storage = self.study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return storage.get_trial(trial_id)

    def _sampler(self, number: int) -> BaseSampler:
        # Ours is good for all trials.
        ours = self.sampler == OURS
        return self._ours if ours else make_sampler(self.sampler, self.space, number)

    def _began_as(self, trial: Trial, start: Trial) -> bool:
        fixed, overrides = self._split(start)
        same = fixed.items() <= self._searched(trial).items()
        return (
            same and overrides.items() <= trial.parameters.items() and trial.origin == start.origin
        )

    def _split(self, start: Trial) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
        """The searched parameters of a start, by the study's names, and values of others."""
        key = optuna_space.candidate_key(self.space, start)
        known = self.candidates[key].parameters
        overrides = {
            name: value
            for name, value in start.parameters.items()
            if name in known and not known[name].searched
        }
        return optuna_space.fixed(key, self.candidates[key], start.parameters), overrides

    def _searched(self, trial: Trial) -> dict[str, Scalar]:
        key = optuna_space.candidate_key(self.space, trial)
        parameters = self.candidates[key].parameters
        chosen = {
            f"{key}.{name}": trial.parameters[name]
            for name, one in parameters.items()
            if one.searched and name in trial.parameters
        }
        return {optuna_space.STRATEGY: key, **chosen}


def known_starts(plan: Plan, total: int) -> Iterator[Trial]:
    """The trials whose parameters are known beforehand, in their order.

    Defaults, in the plan's order, leave room for the user's own configurations.
    """
    own = [
        Trial(
            strategy=one.strategy,
            model=plan.candidate(one.strategy, one.model).model,
            parameters=one.parameters,
            origin="user",
        )
        for one in plan.own_trials
    ]
    without = list(_without(plan)) if total > 1 else []
    first = plan.candidates[: max(1, total - len(own) - len(without))]
    # What has one trial only is cheap, and what the others are to be better than. Order is kept.
    for one in sorted(first, key=optuna_space.searchable):
        yield Trial(strategy=one.strategy, model=one.model)
    yield from without
    yield from own


def _without(plan: Plan) -> Iterator[Trial]:
    """For each parameter that can be off, the first default that has it, without it."""
    compared: set[str] = set()
    for one in plan.candidates:
        for name, parameter in one.parameters.items():
            off, varies = parameter.off_value, parameter.searched and name not in compared
            if varies and off is not None and off != parameter.default:
                compared.add(name)
                yield Trial(strategy=one.strategy, model=one.model, parameters={name: off})


def useful_total(plan: Plan, total: int) -> int:
    """The total, or fewer where nothing is left to search once every configuration ran."""
    if any(optuna_space.searchable(candidate) for candidate in plan.candidates):
        return total
    return min(total, sum(1 for _ in known_starts(plan, total)))
