"""Costs of untrained models, as information about trials that start from them.

A trial with a learning rate of 0 would end with its initial cost: the cost of the base model, or of
the frozen base with a linear head if it starts from the probe. These costs are known before any
training. They show the sampler whether rates are too low, and whether to start from the probe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sweeper.plans import Configuration, Plan, StrategySpace
from sweeper.search.cost_model.axes import Axes, Axis, ChoiceAxis
from sweeper.search.cost_model.trial_costs import START, TrialCosts
from sweeper.spec import Scalar
from sweeper.trials import BaselineResult, TrialResult

PROBE, BASE = "probe", "zero_shot"
# The lowest rate in the space stands for a rate of 0.
RATE = "learning_rate"
# The probe is the optimum of a head on frozen features, and a high rate moves the head away from
# it: trials that start from it first have a rate half-way between the low end of the best-practice
# range and the default. In replays of 24 recorded intents (benchmarks/search) that took 5.8 full
# budgets until good enough; the low end took 6.7 and the default 10.8.
HEAD_RATE = "head_learning_rate"
_UNTRAINED = TrialResult(state="COMPLETE")


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

    def with_heads(
        self,
        candidates: Mapping[str, StrategySpace],
        seen: Mapping[str, Sequence[TrialCosts]],
    ) -> Untrained:
        """A copy with the costs of trials that are linear heads on a frozen base.

        Args:
            candidates: Candidates of the study, by key.
            seen: The trials of each candidate.
        """
        heads = [(key, item.model) for key, item in candidates.items() if item.one_trial]
        ended = {
            model: item.cost
            for key, model in heads
            for item in seen.get(key, ())
            if item.complete and item.cost is not None
        }
        return self | Untrained(ended)

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
            low, default = head.practice[0], head.unit(head.parameter.default)
            point[HEAD_RATE] = head.value((low + default) / 2)
        values = {**constants, **point}
        parameters = {
            name: value for name, value in point.items() if axes[name].parameter.holds(values)
        }
        config = Configuration(strategy=candidate.strategy, model=candidate.model)
        return TrialCosts(config, key, parameters, result=_UNTRAINED, cost=cost)


NOTHING = Untrained()


def of_baseline(plan: Plan, baseline: BaselineResult) -> Untrained:
    """The cost of a baseline that is an untrained model; none for other baselines."""
    cost, model = plan.objective.cost_of(baseline), plan.candidates[0].model
    # After continued pretraining, trials do not start from the base model.
    if cost is None or any(candidate.stages for candidate in plan.candidates):
        return NOTHING
    return Untrained(
        {model: cost} if baseline.name == PROBE else {},
        {model: cost} if baseline.name == BASE else {},
    )
