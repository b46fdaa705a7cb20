"""The search of one study: ask for a trial, report its rungs, tell its end.

The first trials are defaults and the user's own configurations; then the sampler chooses. A search
is kept in memory, and the caller restores earlier trials. With the same seed and the same earlier
trials, the next choice is the same.
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

from sweeper.objective import Limit, Objective
from sweeper.plans import Configuration, Plan, Space, StrategySpace
from sweeper.search import optuna_space
from sweeper.search.cost_model.trial_costs import NOTHING, TrialCosts, Untrained, as_costs
from sweeper.search.named import OURS, make_pruner, make_sampler
from sweeper.search.pruner import NOT_PRUNED, PruningDecision, SweeperPruner, rung_title, value_text
from sweeper.search.sampler import SweeperSampler
from sweeper.spec import Scalar
from sweeper.trials import RungReport, TrialResult

# Trial attributes, which Optuna's dashboards show.
ORIGIN = "sweeper:origin"
FAILURE = "sweeper:failure"
SECONDS = "sweeper:seconds"
# The validation loss, if the objective is another.
VALIDATION_LOSS = "sweeper:validation_loss"
# A system attribute, as Optuna's `set_constraint` writes it, for `best_trial` and Optuna's
# samplers: at most 0 if a trial keeps the limits.
CONSTRAINT = "constraints:limits"


@dataclass
class Search:
    """One study in memory.

    Args:
        space: Candidates, rungs, seed; a plan is a space.
        starts: The trials before the sampler chooses, in order.
        limits: Limits that trials must keep.
        sampler: Name of the sampler, as in ``named``.
        pruner: Name of the pruner, as in ``named``.
        untrained: Costs of untrained models that are known before any trial.

    Attributes:
        study: Optuna's study, in memory, for third-party samplers, pruners and dashboards, with
            values and direction of the objective. Only changed by this object.
        objective: The objective of the study.
        untried: The starts that are still to be tried, in order.
        candidates: Candidates by key, in the plan's order.
        trials: All trials by number.

    Raises:
        SpecError: The sampler or pruner cannot be created.
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
    _sampler: SweeperSampler = field(init=False)
    _pruner: BasePruner | SweeperPruner = field(init=False)
    # Third-party samplers of the running trials, by number.
    _samplers: dict[int, BaseSampler] = field(default_factory=dict)
    trials: list[TrialCosts] = field(default_factory=list)
    # All trials by number, with final costs of the kind that is reported at rungs.
    _pruner_trials: list[TrialCosts] = field(default_factory=list)

    def __post_init__(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.untried = list(self.starts)
        self.candidates = self.space.keyed
        self._distributions = optuna_space.distributions(self.space)
        self._sampler = SweeperSampler(self.space, self.untrained)
        self._pruner = make_pruner(self.pruner, self.space)
        self.objective = self.space.objective
        higher = self.objective.higher_is_better
        self.study = optuna.create_study(
            study_name=f"seed {self.space.seed}",  # Hyperband assigns brackets by it
            sampler=RandomSampler(),
            pruner=self._pruner if isinstance(self._pruner, BasePruner) else None,
            direction=StudyDirection.MAXIMIZE if higher else StudyDirection.MINIMIZE,
        )

    def add_untrained(self, untrained: Untrained) -> None:
        """Add costs of untrained models."""
        self._sampler.untrained |= untrained

    def restore(
        self,
        trial: Configuration,
        reports: Sequence[RungReport] = (),
        result: TrialResult | None = None,
    ) -> None:
        """Add a trial of an earlier command. Trials are added by number, before any ``ask``.

        Args:
            result: Its result; None if it has not ended and will be run again.
        """
        key = self.space.key(trial)
        params = optuna_space.study_names(key, self.candidates[key].searched(trial.parameters))
        distributions = {name: self._distributions[name] for name in params}
        origin = {ORIGIN: trial.origin}
        running = create_trial(
            state=TrialState.RUNNING, params=params, distributions=distributions, user_attrs=origin
        )
        self.study.add_trial(running)
        self._observe(trial, {})
        self.restart(trial.number, reports)
        untried_start = next(
            (start for start in self.untried if self._is_start(trial, start)), None
        )
        if untried_start is not None:
            self.untried.remove(untried_start)
        if result is not None:
            self.tell(trial.number, result)
        elif self.sampler != OURS:
            self._samplers[trial.number] = make_sampler(self.sampler, self.space, trial.number)

    def ask(self) -> Configuration:
        """The next trial: an untried start, or the sampler's choice."""
        start = self.untried.pop(0) if self.untried else None
        number, origin = len(self.trials), start.origin if start else "search"
        start_values = start.parameters if start else {}
        fixed: dict[str, Scalar] = {}
        if start is not None:
            key: str = self.space.key(start)
            fixed = optuna_space.enqueued_values(key, self.candidates[key], start_values)
        if self.sampler != OURS:
            self._samplers[number] = make_sampler(self.sampler, self.space, number)
            self.study.sampler = self._samplers[number]
        elif start is None:
            fixed = optuna_space.study_names(*self._sampler.choose(number, self.seen()))
        self.study.enqueue_trial(fixed)
        proposal = self.study.ask()
        key, parameters = optuna_space.suggest(proposal, self.space, start_values)
        candidate = self.candidates[key]
        if start is None and proposal.params == optuna_space.enqueued_values(key, candidate, {}):
            # The default of a candidate that is not among the starts: its first trial.
            origin = "default"
        proposal.set_user_attr(ORIGIN, origin)
        trial = Configuration.taken_from(
            candidate, number=number, parameters=parameters, origin=origin
        )
        self._observe(trial, {})
        return trial

    def report(self, number: int, report: RungReport) -> PruningDecision:
        """Record a rung of a running trial, and decide whether the trial goes on."""
        self._add_report(number, report)
        if isinstance(self._pruner, SweeperPruner):
            return self._pruner.decide(self._pruner_trials[number], self._pruner_trials)
        # The only rung of a one-trial strategy is its last. Halving pruners would compare its loss
        # with the first rungs of all later trials.
        own, trial = self._pruner_trials[number], self._optuna_trial(number)
        if self.candidates[own.key].one_trial or not self._pruner.prune(self.study, trial):
            return NOT_PRUNED
        name, title = type(self._pruner).__name__, rung_title(self.objective)
        value = value_text(own.reported[report.rung], self.objective)
        return PruningDecision(
            True, f"{name} stopped it at rung {report.rung} with {title} {value}"
        )

    def restart(self, number: int, reports: Sequence[RungReport] = ()) -> None:
        """Begin an interrupted trial again, with ``reports`` as its only rungs."""
        self._optuna_trial(number).intermediate_values = {}
        self._observe(self.trials[number].config, {})
        for report in reports:
            self._add_report(number, report)

    def tell(self, number: int, result: TrialResult) -> None:
        """Record the result of a trial."""
        trial = self._optuna_trial(number)
        ended = self._observe(self.trials[number].config, self.trials[number].reports, result)
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

    def seen(self) -> list[TrialCosts]:
        """All trials by number, with losses at rungs converted to costs of the objective."""
        return self.trials if self.objective.at_rungs else as_costs(self.trials)

    def median(self, number: int, rung: int) -> float | None:
        """The median value of the candidate's other trials at a rung; None if there are none."""
        own, objective = self._pruner_trials[number], self.objective
        same_candidate = [trial for trial in self._pruner_trials if trial.key == own.key]
        costs = [
            trial.reported[rung] for trial in same_candidate if trial is not own and trial.has(rung)
        ]
        if not costs or not own.has(rung):
            return None
        middle = statistics.median(costs)
        return objective.value(middle) if objective.at_rungs else middle

    def _add_report(self, number: int, report: RungReport) -> None:
        """Add a rung's report to a trial."""
        trial = self.trials[number]
        self._observe(trial.config, {**trial.reports, report.rung: report})
        cost = self._pruner_trials[number].reported[report.rung]
        self._optuna_trial(number).intermediate_values[report.rung] = self.objective.study_value(
            cost
        )

    def _observe(
        self,
        config: Configuration,
        reports: Mapping[int, RungReport],
        result: TrialResult | None = None,
    ) -> TrialCosts:
        """Add or update a trial, and return it."""
        number = config.number
        trial = TrialCosts.of(config, reports, result, self.space, self.limits)
        for_pruner = trial
        if result is not None and trial.complete and not self.objective.at_rungs:
            for_pruner = replace(trial, cost=result.validation_loss)
        self.trials[number : number + 1] = [trial]
        self._pruner_trials[number : number + 1] = [for_pruner]
        return trial

    def _optuna_trial(self, number: int) -> FrozenTrial:
        """Optuna's own object of a trial in memory: changing it changes the study."""
        storage = self.study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        return storage.get_trial(trial_id)

    def _is_start(self, trial: Configuration, start: Configuration) -> bool:
        """Whether a restored trial is this start."""
        key = self.space.key(start)
        values = self.candidates[key].defaults(start.parameters)
        is_same_kind = (key, start.origin) == (self.space.key(trial), trial.origin)
        return is_same_kind and values.items() <= trial.parameters.items()


def first_trials(plan: Plan, total: int) -> Iterator[Configuration]:
    """The first trials: defaults, defaults with one parameter off, and the user's own trials.

    If the total is too small for all of them, the plan's last defaults are left out.
    """
    off_variants = list(_without_each_parameter(plan)) if total > 1 else []
    defaults = plan.candidates[: max(1, total - len(plan.own_trials) - len(off_variants))]
    # Candidates with one trial first: they are cheap, and a baseline for the others. Stable sort.
    for candidate in sorted(defaults, key=lambda each: each.searchable):
        yield Configuration(strategy=candidate.strategy, model=candidate.model)
    yield from off_variants
    yield from plan.own_trials


def _without_each_parameter(plan: Plan) -> Iterator[Configuration]:
    """For each parameter that can be off, the first default that has it on, changed to off."""
    compared: set[str] = set()
    for candidate in plan.candidates:
        for name, parameter in candidate.parameters.items():
            off, varies = parameter.off_value, parameter.searched and name not in compared
            if varies and off is not None and off != parameter.default:
                compared.add(name)
                strategy, model = candidate.strategy, candidate.model
                yield Configuration(strategy=strategy, model=model, parameters={name: off})


def useful_total(plan: Plan, total: int) -> int:
    """The total, or the number of starts if there is nothing to search."""
    if any(candidate.searchable for candidate in plan.candidates):
        return total
    return min(total, sum(1 for _ in first_trials(plan, total)))
