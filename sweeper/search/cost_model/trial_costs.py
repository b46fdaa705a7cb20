"""The costs that sampler and pruner see, of trials and of untrained models: the lowest is best.

A trial with a learning rate of 0 would end with its initial cost: the cost of the base model, or of
the frozen base with a linear head if it starts from the probe. These costs are known before any
training. They show the sampler whether rates are too low, and whether to start from the probe.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from sweeper.objective import Limit, is_beyond, order, violation
from sweeper.plans import Configuration, Plan, Space, StrategySpace
from sweeper.search.cost_model.axes import Axes, Axis, ChoiceAxis
from sweeper.spec import Scalar
from sweeper.trials import BaselineResult, FirstItems, RungReport, TrialResult

START = "head_init"  # the initialisation of the head

# Failures that are due to the configuration; others are due to the machine.
_DUE_TO_CONFIGURATION = frozenset({"diverged", "out-of-memory"})


@dataclass(frozen=True)
class TrialCosts:
    """A trial so far, with its costs.

    Args:
        config: Its configuration.
        key: Key of its candidate.
        parameters: Its searched parameters, by names without the candidate's key.
        reports: Its reports by rung.
        result: Its result; None while it is running.
        cost: Final cost of a completed trial; cost at the last rung of a pruned one; None for
            others.
        reported: The reported costs, by rung.
        violation: How far it exceeds a limit, at most 0 if it keeps all; None if there is no limit
            or no measurement.
        rungs: Number of its rungs if it trains to its end.
    """

    config: Configuration
    key: str
    parameters: dict[str, Scalar]
    reports: Mapping[int, RungReport] = field(default_factory=dict)
    result: TrialResult | None = None
    cost: float | None = None
    reported: dict[int, float] = field(default_factory=dict)
    violation: float | None = None
    rungs: int = 8

    @classmethod
    def of(
        cls,
        config: Configuration,
        reports: Mapping[int, RungReport],
        result: TrialResult | None,
        space: Space,
        limits: Sequence[Limit] = (),
    ) -> TrialCosts:
        """The costs of one trial.

        Args:
            space: Candidates, objective and full budget.
            limits: Limits that trials must keep.
        """
        objective, key = space.objective, space.key(config)
        costs = {rung: objective.cost_at_rung(report) for rung, report in reports.items()}
        reported = {rung: cost for rung, cost in costs.items() if cost is not None}
        cost, measured = None, None
        if result is not None and result.state == "COMPLETE":
            cost = objective.cost_of(result)
        elif result is not None and result.state == "PRUNED" and reported:
            last = reported[max(reported)]
            cost = last if math.isfinite(last) else None
        if result is not None and result.state != "FAIL":
            measured = violation(result.measures, limits)
        return cls(
            config,
            key,
            space.keyed[key].searched(config.parameters),
            reports,
            result,
            cost,
            reported,
            # A limit that allows any change has a violation of -inf: it is not a limit.
            measured if measured is not None and math.isfinite(measured) else None,
            space.budget.rungs_of(config.parameters),
        )

    @property
    def number(self) -> int:
        return self.config.number

    @property
    def untrained(self) -> bool:
        """Whether it stands for the untrained model."""
        return self.config.number < 0

    @property
    def searched(self) -> bool:
        """Whether the sampler chose its configuration."""
        return self.config.origin == "search"

    @property
    def complete(self) -> bool:
        """Whether it was trained to the end."""
        return self.result is not None and self.result.state == "COMPLETE"

    @property
    def running(self) -> bool:
        return self.result is None

    @property
    def failed(self) -> bool:
        """Whether it failed because of its configuration."""
        failure = self.result.failure if self.result else None
        return failure is not None and failure.kind in _DUE_TO_CONFIGURATION

    @property
    def seconds(self) -> float:
        """Its seconds; 0 if unknown."""
        return self.result.seconds if self.result else 0.0

    @cached_property
    def curve(self) -> dict[int, float]:
        """The lowest finite cost so far, by rung."""
        return best_so_far(self.reported)

    @property
    def losses(self) -> dict[int, float]:
        """The reported validation losses, by rung."""
        return {rung: report.validation_loss for rung, report in self.reports.items()}

    @cached_property
    def items(self) -> dict[int, FirstItems]:
        """The first validation items at each rung, if reported."""
        reports = self.reports.items()
        return {rung: report.first_items for rung, report in reports if report.first_items}

    def has(self, rung: int) -> bool:
        """Whether a finite cost was reported at a rung."""
        return math.isfinite(self.reported.get(rung, math.inf))

    @property
    def within_limits(self) -> bool:
        """Whether it exceeds no limit, as far as known."""
        return not is_beyond(self.violation)

    @property
    def final(self) -> float | None:
        """The final cost of a completed trial within the limits; None for others."""
        return self.cost if self.complete and self.within_limits else None

    @property
    def start(self) -> Scalar | None:
        """The initialisation of its head, if searched. Curves from different ones cross, so
        the pruner does not compare them."""
        return self.parameters.get(START)

    @cached_property
    def subset_bias(self) -> float | None:
        """Its cost on all items minus its cost on the rungs' items, if known."""
        if not self.complete or self.cost is None or not self.items:
            return None
        if self.rungs in self.items and self.rungs in self.reported:
            return self.reported[self.rungs] - self.items[self.rungs].cost
        # It completed before its last rung, with the weights of its best rung.
        return self.cost - min(items.cost for items in self.items.values())

    @cached_property
    def rank(self) -> tuple[bool, float, float, float]:
        """A sort key, best first: completed trials by ``order``, then pruned ones by their last
        rung and cost."""
        cost = math.inf if self.cost is None else self.cost
        if self.complete:
            return False, *order(cost, self.violation)
        return True, -max(self.curve, default=0), cost, 0.0


# Fewest completed trials for a straight line from losses to costs.
_MIN_COMPLETE = 3


def as_costs(seen: Sequence[TrialCosts]) -> list[TrialCosts]:
    """Trials with the losses of their rungs converted to costs of the objective.

    A loss at a rung, such as the last one of a pruned trial, becomes the cost at that loss on a
    straight, non-decreasing line through the completed trials; while they are too few for a line,
    their highest cost.
    """
    pairs = [
        (min(trial.curve.values()), trial.cost)
        for trial in seen
        if trial.complete and trial.cost is not None and trial.curve
    ]
    costs = [cost for _, cost in pairs]

    def cost_at(loss: float) -> float:
        if len(pairs) < _MIN_COMPLETE or len({lowest for lowest, _ in pairs}) < 2:
            return max(costs)
        line = statistics.linear_regression(*zip(*pairs, strict=True))
        return statistics.fmean(costs) + max(0.0, line.slope) * (
            loss - statistics.fmean(lowest for lowest, _ in pairs)
        )

    if not costs:
        return [replace(trial, reports={}, reported={}) for trial in seen]
    return [
        replace(
            trial,
            cost=trial.cost if trial.complete or trial.cost is None else cost_at(trial.cost),
            reports={},
            reported={rung: cost_at(loss) for rung, loss in trial.reported.items()},
        )
        for trial in seen
    ]


def lowest_final(trials: Iterable[TrialCosts]) -> float:
    """The lowest final cost of the trials within the limits; infinity if there is none."""
    return min((trial.final for trial in trials if trial.final is not None), default=math.inf)


def best_so_far(costs: dict[int, float]) -> dict[int, float]:
    """The lowest finite cost up to each rung."""
    lowest = math.inf
    curve: dict[int, float] = {}
    for rung in sorted(costs):
        if math.isfinite(costs[rung]):
            lowest = min(lowest, costs[rung])
        if math.isfinite(lowest):
            curve[rung] = lowest
    return curve


# Names of the baselines that are untrained models. ``PROBE`` is also a value of ``START``.
PROBE, BASE = "probe", "zero_shot"
# The lowest rate in the space stands for a rate of 0.
RATE = "learning_rate"
# The probe is the optimum of a head on frozen features, and a high rate moves the head away from
# it: trials that start from it first have a rate half-way between the low end of the best-practice
# range and the default. In replays of the task `intents` (benchmarks/search) the search then took
# 5.8 full trials to a good one; with the low end it took 6.7, and with the default 10.8.
HEAD_RATE = "head_learning_rate"
_COMPLETE = TrialResult(state="COMPLETE")


@dataclass(frozen=True)
class Untrained:
    """Validation costs of models that were not trained, by base model.

    Args:
        probes: Costs of a linear head on the frozen base.
        bases: Costs of the untrained base model, if it generates texts.
    """

    probes: Mapping[str, float] = field(default_factory=dict)
    bases: Mapping[str, float] = field(default_factory=dict)

    def __or__(self, others: Untrained) -> Untrained:
        return Untrained({**self.probes, **others.probes}, {**self.bases, **others.bases})

    def with_linear_heads(
        self,
        candidates: Mapping[str, StrategySpace],
        seen: Mapping[str, Sequence[TrialCosts]],
    ) -> Untrained:
        """A copy with the costs of trials that are linear heads on a frozen base.

        Args:
            candidates: Candidates of the study, by key.
            seen: The trials of each candidate.
        """
        heads = [(key, each.model) for key, each in candidates.items() if each.one_trial]
        costs = {
            model: trial.cost
            for key, model in heads
            for trial in seen.get(key, ())
            if trial.complete and trial.cost is not None
        }
        return self | Untrained(probes=costs)

    def as_trial(
        self, key: str, candidate: StrategySpace, axes: Axes, constants: Mapping[str, Scalar]
    ) -> TrialCosts | None:
        """The untrained model as a trial at the lowest rate; None if its cost is unknown.

        Args:
            key: Key of the candidate.
            candidate: The candidate's strategy and model.
            axes: Its searched parameters.
            constants: Values of its other parameters, on which conditions may depend.
        """
        rate, start = axes.get(RATE), axes.get(START)
        if not isinstance(rate, Axis):
            return None
        from_probe = isinstance(start, ChoiceAxis) and PROBE in start.choices
        if from_probe:
            cost = self.probes.get(candidate.model)
        else:
            starts_from_base = candidate.begins_as_base and START not in candidate.parameters
            cost = self.bases.get(candidate.model) if starts_from_base else None
        if cost is None:
            return None
        point = {name: axis.parameter.default for name, axis in axes.items()}
        point |= {RATE: rate.value(0.0)} | ({START: PROBE} if from_probe else {})
        head = axes.get(HEAD_RATE)
        if from_probe and isinstance(head, Axis):
            low, default = head.best_practice[0], head.unit(head.parameter.default)
            point[HEAD_RATE] = head.value((low + default) / 2)
        values = {**constants, **point}
        parameters = {
            name: value for name, value in point.items() if axes[name].parameter.holds(values)
        }
        config = Configuration(strategy=candidate.strategy, model=candidate.model)
        return TrialCosts(config, key, parameters, result=_COMPLETE, cost=cost)


NOTHING = Untrained()


def of_baseline(plan: Plan, baseline: BaselineResult) -> Untrained:
    """The cost of a baseline that is an untrained model; none for other baselines."""
    cost, model = plan.objective.cost_of(baseline), plan.candidates[0].model
    # After continued pretraining, trials do not start from the base model.
    if cost is None or any(candidate.stages for candidate in plan.candidates):
        return NOTHING
    return Untrained(
        probes={model: cost} if baseline.name == PROBE else {},
        bases={model: cost} if baseline.name == BASE else {},
    )
