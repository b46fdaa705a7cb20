"""The search of one study: ask for a trial, report its rungs, tell its end.

Its first trials are defaults, then the user's own configurations. Then the sampler chooses. The
search is kept in memory. The caller restores earlier trials; with the same seed and earlier trials,
the next choice is the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.constraints import Limit, excess
from sweeper.objective import LOSS, Objective
from sweeper.plans import Candidate, Plan
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
from sweeper.search.loss_model.untrained import NOTHING, Untrained, note
from sweeper.search.named import OURS, make_pruner, make_sampler
from sweeper.search.optuna_space import AnyCandidate, Problem, Start, objective_of
from sweeper.search.pruner import PruningDecision, decide
from sweeper.search.sampler import SweeperSampler
from sweeper.spec import OwnTrial, Scalar
from sweeper.trials import FirstItems, Origin, RungReport, State, TrialResult


@dataclass(frozen=True)
class Asked:
    """A trial that was chosen.

    Args:
        number: Its number in the study, from 0.
        key: What the study calls the candidate (``optuna_space.candidate_key``).
        parameters: Every parameter whose condition holds, searched or not, by plain name.
        origin: ``default``, ``user`` or ``search``.
    """

    number: int
    key: str
    parameters: dict[str, Scalar]
    origin: Origin


@dataclass(frozen=True)
class End:
    """How a trial ended.

    Args:
        state: ``COMPLETE``, ``PRUNED`` or ``FAIL``.
        loss: Final loss of a completed trial, the last one of a pruned trial, else None.
        failure: Kind of failure (``trials.FailureKind``), empty where it did not fail.
        excess: By how much it exceeds the user's limit; 0 or less is within it. None without one.
        validation_loss: Where ``loss`` is the cost of another objective.
    """

    state: State
    loss: float | None = None
    seconds: float = 0.0
    failure: str = ""
    excess: float | None = None
    validation_loss: float | None = None

    @classmethod
    def of(
        cls,
        result: TrialResult,
        reports: Sequence[RungReport],
        plan: Plan,
        limits: Sequence[Limit] = (),
    ) -> End:
        """The end of a trial of a run, whose last report's loss counts if it was pruned."""
        objective = plan.objective
        loss = objective.cost_of(result) if result.state == "COMPLETE" else None
        if result.state == "PRUNED" and reports:
            last = Rung.of(reports[-1], objective).loss
            loss = last if math.isfinite(last) else None
        return cls(
            state=result.state,
            loss=loss,
            seconds=result.training_seconds + result.evaluation_seconds + result.setup_seconds,
            failure=result.failure.kind if result.failure else "",
            excess=excess(result.measures, limits),
            validation_loss=None if objective.is_loss else result.validation_loss,
        )


@dataclass(frozen=True)
class Rung:
    """A trial's report at a rung.

    Args:
        rung: Its number, from 1.
        items: What the loss was taken over, where it is a mean of items' losses.
        seconds: Since the trial began, where an objective tells its cost by its rungs.
        excess: Likewise by how much the trial exceeds the user's limit; 0 or less is within it.
        validation_loss: Where ``loss`` is the cost of another objective.
    """

    rung: int
    loss: float
    items: FirstItems | None = None
    seconds: float = 0.0
    excess: float | None = None
    validation_loss: float | None = None

    @classmethod
    def of(cls, report: RungReport, objective: Objective = LOSS) -> Rung:
        """The rung of a run's trial that a report is about."""
        cost = None if objective.is_loss else objective.cost_of(report)
        if cost is None or not objective.at_rungs:
            return cls(report.rung, report.validation_loss, report.first_items)
        known = report.validation_loss
        return cls(report.rung, cost, report.first_items, validation_loss=known)


@dataclass(frozen=True)
class Restored:
    """A trial of an earlier call. ``end`` is None where it has none and is to be tried again."""

    asked: Asked
    rungs: Sequence[Rung] = ()
    end: End | None = None


@dataclass
class Search:
    """One study in memory.

    Args:
        problem: A plan, or a space: candidates, rungs, seed.
        starts: What is tried before the sampler chooses, in order.
        sampler: ``sweeper``, ``optuna:TPESampler``, ``package.module:Class``, with options in
            brackets.
        pruner: Likewise.
        untrained: Losses that are known before any trial.

    Attributes:
        study: In memory, with values and direction of the objective; may be looked at, and is
            changed by this object alone.
        objective: What the study improves. Losses that this object takes are its costs.
        untried: The starts that are still to be tried, in order.
        candidates: By what the study calls them, in the plan's order.

    Raises:
        SpecError: Sampler or pruner cannot be made.
    """

    problem: Problem
    starts: Sequence[Start] = ()
    sampler: str = "sweeper"
    pruner: str = "sweeper"
    untrained: Untrained = NOTHING
    study: optuna.Study = field(init=False)
    objective: Objective = field(init=False)
    untried: list[Start] = field(init=False)
    candidates: Mapping[str, AnyCandidate] = field(init=False)
    _distributions: Mapping[str, BaseDistribution] = field(init=False)
    _ours: SweeperSampler = field(init=False)
    _samplers: dict[int, BaseSampler] = field(default_factory=dict)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.untried = list(self.starts)
        self.candidates = optuna_space.candidates(self.problem)
        self._distributions = optuna_space.distributions(self.problem)
        self._ours = SweeperSampler(self.problem)
        # Hyperband deals out its brackets by the study's name.
        name = f"seed {self.problem.seed}"
        pruner = make_pruner(self.pruner, self.problem)
        self.objective = objective_of(self.problem)
        higher = self.objective.higher_is_better
        direction = StudyDirection.MAXIMIZE if higher else StudyDirection.MINIMIZE
        self.study = optuna.create_study(study_name=name, pruner=pruner, direction=direction)
        self.learn(self.untrained)

    def learn(self, untrained: Untrained) -> None:
        """Add losses of untrained models."""
        note(self.study, untrained)

    def restore(self, trials: Iterable[Restored]) -> None:
        """Add the trials of earlier calls, by number and without gaps, before any ``ask``."""
        for one in trials:
            number = one.asked.number
            self.study.add_trial(self._frozen(one))
            began = (start for start in self.untried if self._began_as(one.asked, start))
            if (start := next(began, None)) is not None:
                self.untried.remove(start)
            if one.end is None:
                self._samplers[number] = self._sampler(number)

    def ask(self) -> Asked:
        """The next trial: an untried start, or what the sampler chooses."""
        start = self.untried.pop(0) if self.untried else None
        origin: Origin = start.origin if start else "search"
        self.study.enqueue_trial(dict(start.fixed) if start else {}, user_attrs={ORIGIN: origin})
        number = len(self.study.get_trials(deepcopy=False)) - 1
        self.study.sampler = self._samplers[number] = self._sampler(number)
        trial = self.study.ask()
        key, parameters = optuna_space.suggest(
            trial, self.problem, start.overrides if start else None
        )
        if start is None and self._is_default(key, trial.params):
            # Too few trials for all defaults: the sampler begins with them, too.
            origin = "default"
            trial.set_user_attr(ORIGIN, origin)
        return Asked(trial.number, key, parameters, origin)

    def report(self, number: int, rung: Rung) -> PruningDecision:
        """Record one rung of a running trial, and decide whether it goes on."""
        self._note(number, rung)
        keys = optuna_space.one_trial_keys(self.problem)
        return decide(self.study, self.trial(number), keys, self.objective)

    def restart(self, number: int, rungs: Sequence[Rung] = ()) -> None:
        """Begin an interrupted trial again; only these of its rungs count."""
        trial = self.trial(number)  # in memory, this is the trial itself
        origin = trial.user_attrs[ORIGIN]
        trial.intermediate_values, trial.user_attrs = {}, {}
        self.study._storage.set_trial_user_attr(trial._trial_id, ORIGIN, origin)
        for rung in rungs:
            self._note(number, rung)

    def tell(self, number: int, end: End) -> None:
        """End a trial."""
        storage, trial = self.study._storage, self.trial(number)
        for name, value in _attributes(end).items():
            storage.set_trial_user_attr(trial._trial_id, name, value)
        if end.excess is not None:
            storage.set_trial_system_attr(trial._trial_id, CONSTRAINT, end.excess)
        value = self._kept(end)
        state, values = TrialState[end.state], None if value is None else [value]
        self._samplers.pop(number).after_trial(self.study, trial, state, values)
        storage.set_trial_state_values(trial._trial_id, state, values)

    def seen(self) -> list[Observation]:
        """All trials by number, as sampler and pruner see them."""
        return self._ours.seen(self.study)

    def _note(self, number: int, rung: Rung) -> None:
        storage, trial_id = self.study._storage, self.trial(number)._trial_id
        value = self.objective.at_rung(rung.loss)
        storage.set_trial_intermediate_value(trial_id, rung.rung, value)
        for name, kept in _rung_attributes(rung).items():
            storage.set_trial_user_attr(trial_id, name, kept)

    def _kept(self, end: End) -> float | None:
        """The end's value in the study."""
        if end.loss is None:
            return None
        objective = self.objective
        return objective.value(end.loss) if end.state == "COMPLETE" else objective.at_rung(end.loss)

    def trial(self, number: int) -> FrozenTrial:
        """A trial as Optuna has it; it changes as the trial goes on."""
        storage = self.study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return storage.get_trial(trial_id)

    def _sampler(self, number: int) -> BaseSampler:
        # Ours is good for all trials.
        ours = self.sampler == OURS
        return self._ours if ours else make_sampler(self.sampler, self.problem, number)

    def _began_as(self, asked: Asked, start: Start) -> bool:
        same = start.fixed.items() <= self._searched(asked).items()
        same &= start.overrides.items() <= asked.parameters.items()
        return same and asked.origin == start.origin

    def _frozen(self, one: Restored) -> FrozenTrial:
        params, end = self._searched(one.asked), one.end or End("FAIL")
        reported = {
            name: kept for rung in one.rungs for name, kept in _rung_attributes(rung).items()
        }
        return create_trial(
            state=TrialState[end.state] if one.end else TrialState.RUNNING,
            value=self._kept(end),
            params=dict(params),
            distributions={name: self._distributions[name] for name in params},
            user_attrs={
                ORIGIN: one.asked.origin,
                **reported,
                **(_attributes(end) if one.end else {}),
            },
            system_attrs={} if end.excess is None else {CONSTRAINT: end.excess},
            intermediate_values={
                rung.rung: self.objective.at_rung(rung.loss) for rung in one.rungs
            },
        )

    def _searched(self, asked: Asked) -> dict[str, Scalar]:
        candidate = self.candidates[asked.key]
        names = [name for name, one in candidate.parameters.items() if one.searched]
        chosen = {f"{asked.key}.{n}": asked.parameters[n] for n in names if n in asked.parameters}
        return {optuna_space.STRATEGY: asked.key, **chosen}

    def _is_default(self, key: str, params: Mapping[str, Scalar]) -> bool:
        candidate = self.candidates[key]
        return params == optuna_space.fixed(key, candidate, {})


def _attributes(end: End) -> dict[str, object]:
    found: dict[str, object] = {SECONDS: end.seconds}
    if end.failure:
        found[FAILURE] = end.failure
    if end.validation_loss is not None:
        found[VALIDATION_LOSS] = end.validation_loss
    return found


def _rung_attributes(rung: Rung) -> dict[str, object]:
    found: dict[str, object] = {}
    if rung.items is not None:
        found |= dict([attribute(rung.rung, rung.items)])
    if rung.validation_loss is not None:
        found[f"{RUNG_LOSS}{rung.rung}"] = rung.validation_loss
    return found


def default_start(key: str, candidate: Candidate) -> Start:
    """The rule book's default of a candidate."""
    return Start("default", optuna_space.fixed(key, candidate, {}))


def known_starts(plan: Plan, total: int) -> Iterator[Start]:
    """The trials whose parameters are known beforehand, in their order.

    Defaults, in the plan's order, leave room for the user's own configurations.
    """
    keyed = optuna_space.candidates(plan)
    own = [_own(plan, one) for one in plan.own_trials]
    without = list(_skipping(keyed)) if total > 1 else []
    first = list(keyed)[: max(1, total - len(own) - len(without))]
    # What has one trial only is cheap, and what the others are to be better than. Order is kept.
    for key in sorted(first, key=lambda key: optuna_space.searchable(keyed[key])):
        yield default_start(key, keyed[key])
    yield from without
    yield from own


def _own(plan: Plan, own: OwnTrial) -> Start:
    candidate = plan.candidate(own.strategy, own.model)
    key = optuna_space.candidate_key(plan, candidate)
    overrides = {
        name: value
        for name, value in own.parameters.items()
        if name in candidate.parameters and not candidate.parameters[name].searched
    }
    return Start("user", optuna_space.fixed(key, candidate, own.parameters), overrides)


def _skipping(keyed: Mapping[str, Candidate]) -> Iterator[Start]:
    """For each parameter that can be off, the first default that has it, without it."""
    compared: set[str] = set()
    for key, candidate in keyed.items():
        for name, parameter in candidate.parameters.items():
            off, varies = parameter.off_value, parameter.searched and name not in compared
            if varies and off is not None and off != parameter.default:
                compared.add(name)
                yield Start("default", optuna_space.fixed(key, candidate, {name: off}))


def useful_total(plan: Plan, total: int) -> int:
    """The total, or fewer where nothing is left to search once every configuration ran."""
    if any(optuna_space.searchable(candidate) for candidate in plan.candidates):
        return total
    return min(total, sum(1 for _ in known_starts(plan, total)))
