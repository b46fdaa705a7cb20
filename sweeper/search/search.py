"""The search of one study: ask for a trial, report its rungs, tell its end.

Its first trials are defaults, then the user's own configurations. Then the sampler chooses. The
search is kept in memory. The caller restores earlier trials; with the same seed and earlier trials,
the next choice is the same.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeper.constraints import Limit
from sweeper.objective import Objective
from sweeper.plans import Configuration, Plan, Space, StrategySpace
from sweeper.search import optuna_space
from sweeper.search.cost_model.observations import Observation, as_costs, observation
from sweeper.search.cost_model.untrained import NOTHING, Untrained
from sweeper.search.named import OURS, make_pruner, make_sampler
from sweeper.search.pruner import GO_ON, PruningDecision, SweeperPruner, rung_title, shown
from sweeper.search.sampler import SweeperSampler
from sweeper.spec import Scalar
from sweeper.trials import RungReport, TrialResult

# Trial attributes. Plain Optuna code and dashboards show them as they are.
ORIGIN = "sweeper:origin"
FAILURE = "sweeper:failure"
SECONDS = "sweeper:seconds"
# The validation loss, where the objective is another.
VALIDATION_LOSS = "sweeper:validation_loss"
# A system attribute, as Optuna's `set_constraint` writes it. Up to 0 a trial keeps to the limit;
# `best_trial` and Optuna's samplers see it.
CONSTRAINT = "constraints:limits"


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
        untrained: Costs that are known before any trial.

    Attributes:
        study: What third-party samplers, pruners and dashboards see of the trials: in memory, with
            values and direction of the objective. Changed by this object alone.
        objective: What the study improves.
        untried: The starts that are still to be tried, in order.
        candidates: By what the study calls them, in the plan's order.

    Raises:
        SpecError: Sampler or pruner cannot be made.
    """

    space: Space
    starts: Sequence[Configuration] = ()
    sampler: str = "sweeper"
    pruner: str = "sweeper"
    untrained: Untrained = NOTHING
    limits: Sequence[Limit] = ()
    study: optuna.Study = field(init=False)
    objective: Objective = field(init=False)
    untried: list[Configuration] = field(init=False)
    candidates: Mapping[str, StrategySpace] = field(init=False)
    _distributions: Mapping[str, BaseDistribution] = field(init=False)
    _ours: SweeperSampler = field(init=False)
    _pruner: BasePruner | SweeperPruner = field(init=False)
    _samplers: dict[int, BaseSampler] = field(default_factory=dict)
    _trials: list[Configuration] = field(default_factory=list)
    _reports: list[dict[int, RungReport]] = field(default_factory=list)
    _observed: dict[int, Observation] = field(default_factory=dict)
    _for_pruner: dict[int, Observation] = field(default_factory=dict)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.untried = list(self.starts)
        self.candidates = self.space.keyed
        self._distributions = optuna_space.distributions(self.space)
        self._ours = SweeperSampler(self.space, self.untrained)
        self._pruner = make_pruner(self.pruner, self.space)
        self.objective = self.space.objective
        higher = self.objective.higher_is_better
        self.study = optuna.create_study(
            study_name=f"seed {self.space.seed}",  # by which Hyperband deals out its brackets
            sampler=RandomSampler(),
            pruner=self._pruner if isinstance(self._pruner, BasePruner) else None,
            direction=StudyDirection.MAXIMIZE if higher else StudyDirection.MINIMIZE,
        )

    def learn(self, untrained: Untrained) -> None:
        """Add losses of untrained models."""
        self._ours.untrained |= untrained

    def restore(
        self,
        trial: Configuration,
        reports: Sequence[RungReport] = (),
        result: TrialResult | None = None,
    ) -> None:
        """Add a trial of an earlier call, in the order of numbers, before any ``ask``.

        Args:
            result: None where it has not ended and is to be tried again.
        """
        key = self.space.key(trial)
        params = optuna_space.named(key, self.candidates[key].searched(trial.parameters))
        distributions = {name: self._distributions[name] for name in params}
        origin = {ORIGIN: trial.origin}
        running = create_trial(
            state=TrialState.RUNNING, params=params, distributions=distributions, user_attrs=origin
        )
        self.study.add_trial(running)
        self._begin(trial)
        self.restart(trial.number, reports)
        began = next((start for start in self.untried if self._began_as(trial, start)), None)
        if began is not None:
            self.untried.remove(began)
        if result is not None:
            self.tell(trial.number, result)
        elif self.sampler != OURS:
            self._samplers[trial.number] = make_sampler(self.sampler, self.space, trial.number)

    def ask(self) -> Configuration:
        """The next trial: an untried start, or what the sampler chooses."""
        start = self.untried.pop(0) if self.untried else None
        number, origin = len(self._trials), start.origin if start else "search"
        given = start.parameters if start else {}
        fixed: dict[str, Scalar] = {}
        if start is not None:
            key = self.space.key(start)
            fixed = optuna_space.fixed(key, self.candidates[key], given)
        if self.sampler != OURS:
            self._samplers[number] = make_sampler(self.sampler, self.space, number)
            self.study.sampler = self._samplers[number]
        elif start is None:
            fixed = optuna_space.named(*self._ours.choose(number, self.seen()))
        self.study.enqueue_trial(fixed)
        asked = self.study.ask()
        key, parameters = optuna_space.suggest(asked, self.space, given)
        candidate = self.candidates[key]
        if start is None and asked.params == optuna_space.fixed(key, candidate, {}):
            # Too few trials for all defaults: the sampler begins with them, too.
            origin = "default"
        asked.set_user_attr(ORIGIN, origin)
        trial = Configuration.taken_from(
            candidate, number=number, parameters=parameters, origin=origin
        )
        self._begin(trial)
        return trial

    def report(self, number: int, report: RungReport) -> PruningDecision:
        """Record one rung of a running trial, and decide whether it goes on."""
        self._note(number, report)
        if isinstance(self._pruner, SweeperPruner):
            return self._pruner.decide(self._for_pruner[number], list(self._for_pruner.values()))
        # The only rung of a one-trial strategy is its end. Halving pruners would hold its loss
        # against the first rungs of all trials after it.
        own, trial = self._for_pruner[number], self._frozen(number)
        if self.candidates[own.key].one_trial or not self._pruner.prune(self.study, trial):
            return GO_ON
        name, title = type(self._pruner).__name__, rung_title(self.objective)
        value = shown(own.reported[report.rung], self.objective)
        return PruningDecision(
            True, f"{name} stopped it at rung {report.rung} with {title} {value}"
        )

    def restart(self, number: int, reports: Sequence[RungReport] = ()) -> None:
        """Begin an interrupted trial again; only these of its rungs count."""
        self._frozen(number).intermediate_values = {}
        self._reports[number] = {}
        self._observe(number)
        for report in reports:
            self._note(number, report)

    def tell(self, number: int, result: TrialResult) -> None:
        """End a trial."""
        self._observe(number, result)
        trial, ended = self._frozen(number), self._observed[number]
        trial.user_attrs[SECONDS] = result.seconds
        if result.failure:
            trial.user_attrs[FAILURE] = result.failure.kind
        if not self.objective.is_loss and result.validation_loss is not None:
            trial.user_attrs[VALIDATION_LOSS] = result.validation_loss
        if ended.violation is not None:
            trial.system_attrs[CONSTRAINT] = ended.violation
        value = None if ended.cost is None else self.objective.study_value(ended.cost)
        if ended.complete:
            value = self.objective.measured(result)
        state, values = TrialState[result.state], None if value is None else [value]
        if (sampler := self._samplers.pop(number, None)) is not None:
            sampler.after_trial(self.study, trial, state, values)
        self.study._storage.set_trial_state_values(trial._trial_id, state, values)

    def seen(self) -> list[Observation]:
        """All trials by number, as the sampler sees them."""
        seen = list(self._observed.values())
        return seen if self.objective.at_rungs else as_costs(seen)

    def median(self, number: int, rung: int) -> float | None:
        """The median of what the candidate's other trials reported at a rung, if any did."""
        own, objective = self._for_pruner[number], self.objective
        same = [trial for trial in self._for_pruner.values() if trial.key == own.key]
        costs = [trial.reported[rung] for trial in same if trial is not own and trial.has(rung)]
        if not costs or not own.has(rung):
            return None
        middle = statistics.median(costs)
        return objective.value(middle) if objective.at_rungs else middle

    def _begin(self, trial: Configuration) -> None:
        self._trials.append(trial)
        self._reports.append({})
        self._observe(len(self._trials) - 1)

    def _note(self, number: int, report: RungReport) -> None:
        """Keep a report."""
        self._reports[number][report.rung] = report
        self._observe(number)
        cost = self._for_pruner[number].reported[report.rung]
        self._frozen(number).intermediate_values[report.rung] = self.objective.study_value(cost)

    def _observe(self, number: int, result: TrialResult | None = None) -> None:
        """Keep a trial as sampler and pruner see it: the pruner in costs of what rungs report."""
        trial = self._trials[number]
        view = observation(trial, self._reports[number], result, self.space, self.limits)
        self._observed[number] = self._for_pruner[number] = view
        if result is not None and view.complete and not self.objective.at_rungs:
            self._for_pruner[number] = replace(view, cost=result.validation_loss)

    def _frozen(self, number: int) -> FrozenTrial:
        """A trial as Optuna has it: in memory, it is the trial itself."""
        storage = self.study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return storage.get_trial(trial_id)

    def _began_as(self, trial: Configuration, start: Configuration) -> bool:
        key = self.space.key(start)
        values = self.candidates[key].defaults(start.parameters)
        same = (key, start.origin) == (self.space.key(trial), trial.origin)
        return same and values.items() <= trial.parameters.items()


def known_starts(plan: Plan, total: int) -> Iterator[Configuration]:
    """The trials whose parameters are known beforehand, in their order.

    Defaults, in the plan's order, leave room for the user's own configurations.
    """
    without = list(_without(plan)) if total > 1 else []
    first = plan.candidates[: max(1, total - len(plan.own_trials) - len(without))]
    # What has one trial only is cheap, and what the others are to be better than. Order is kept.
    for item in sorted(first, key=lambda each: each.searchable):
        yield Configuration(strategy=item.strategy, model=item.model)
    yield from without
    yield from plan.own_trials


def _without(plan: Plan) -> Iterator[Configuration]:
    """For each parameter that can be off, the first default that has it, without it."""
    compared: set[str] = set()
    for candidate in plan.candidates:
        for name, parameter in candidate.parameters.items():
            off, varies = parameter.off_value, parameter.searched and name not in compared
            if varies and off is not None and off != parameter.default:
                compared.add(name)
                strategy, model = candidate.strategy, candidate.model
                yield Configuration(strategy=strategy, model=model, parameters={name: off})


def useful_total(plan: Plan, total: int) -> int:
    """The total, or fewer where nothing is left to search once every configuration ran."""
    if any(candidate.searchable for candidate in plan.candidates):
        return total
    return min(total, sum(1 for _ in known_starts(plan, total)))
