"""Which configurations are recorded: spread over the whole allowed space, denser where one looks.

A function of task and index alone, so that recording goes on where it stopped.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from scipy.stats import qmc

from benchmarks.search.table import Floats
from sweeper.plans import Plan
from sweeper.search import optuna_space
from sweeper.search.cost_model.axes import Axis, ChoiceAxis, axis_of
from sweeper.spec import Scalar

# Every so many trials the configuration of an earlier one is trained on another seed.
REPEAT_EVERY = 6
REPEAT_BACK = 3
# Half of the draws lie in the allowed range, half in the searched one and half its width around.
WIDER = 0.5
# Small batches cost up to ten times as much to record, so they are drawn more seldom.
BATCH = "per_device_train_batch_size"
BATCH_WEIGHTS = {1: 0.2, 2: 0.4, 4: 0.8}
LORA_SHARE = 0.6


@dataclass(frozen=True)
class Planned:
    """One trial to record."""

    index: int
    strategy: str
    parameters: dict[str, Scalar]
    seed: int


class Design:
    """The recorded configurations of one task, by index.

    Args:
        plan: Of the task.
        name: Of the task.
    """

    def __init__(self, plan: Plan, name: str) -> None:
        self._plan = plan
        self._candidates = plan.keyed
        self._known = optuna_space.distributions(plan)
        self._searched = [key for key, one in self._candidates.items() if one.searchable]
        self._seed = zlib.crc32(name.encode())

    def planned(self, index: int) -> Planned:
        """The trial with that index: defaults first, then draws and repeats in turn."""
        keys = list(self._candidates)
        if index < len(keys):
            return self._default(index, keys[index], self._plan.seed)
        if index < len(keys) + 2 * len(self._searched):  # two more seeds of each default
            repeat, which = divmod(index - len(keys), len(self._searched))
            return self._default(index, self._searched[which], self._plan.seed + 1 + repeat)
        if index % REPEAT_EVERY == 0:
            earlier = self._drawn(index - REPEAT_BACK)
            return Planned(index, earlier.strategy, earlier.parameters, earlier.seed + 1)
        return self._drawn(index)

    def _default(self, index: int, key: str, seed: int) -> Planned:
        return Planned(index, key, self._candidates[key].defaults(), seed)

    def _drawn(self, index: int) -> Planned:
        numbers = self._numbers(index)
        lead = self._searched[0]
        others = self._searched[1:] or self._searched
        key = lead if numbers[0] < LORA_SHARE else others[index % len(others)]
        wide = numbers[1] < 0.5
        candidate = self._candidates[key]
        chosen: dict[str, Scalar] = {}
        position = 2
        for name, parameter in candidate.parameters.items():
            if not parameter.holds(chosen):
                continue
            if not parameter.searched:
                chosen[name] = parameter.default
                continue
            axis = axis_of(name, parameter, self._known[f"{key}.{name}"])
            chosen[name] = _value(axis, float(numbers[position]), wide)
            position += 1
        return Planned(index, key, chosen, self._plan.seed)

    def _numbers(self, index: int) -> Floats:
        # One row of a scrambled Sobol sequence: any first part of it is evenly spread.
        dimensions = 2 + max(len(one.parameters) for one in self._candidates.values())
        sequence = qmc.Sobol(dimensions, scramble=True, rng=self._seed)
        sequence.fast_forward(index)
        return np.asarray(sequence.random(1)[0])


def _value(axis: Axis | ChoiceAxis, number: float, wide: bool) -> Scalar:
    if isinstance(axis, Axis):
        low, high = (0.0, 1.0) if wide else axis.best_practice
        if not wide:
            reach = WIDER * (high - low)
            low, high = max(0.0, low - reach), min(1.0, high + reach)
        return axis.value(low + number * (high - low))
    choices = axis.choices if wide else tuple(axis.weights)
    weights = np.asarray([_weight(axis.name, choice) for choice in choices])
    edges = np.cumsum(weights / weights.sum())
    return choices[min(int(np.searchsorted(edges, number)), len(choices) - 1)]


def _weight(name: str, choice: Scalar) -> float:
    return BATCH_WEIGHTS.get(int(choice), 1.0) if name == BATCH else 1.0
