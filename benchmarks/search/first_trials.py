"""Whether other first trials than the rule book's defaults find a good trial sooner.

    python -m benchmarks.search.first_trials [--seeds 30]

First, the learning rate that is best on average on the other recorded data sets, with the loss that
a model of the recorded trials predicts for it, compared with the default. Then, where epochs are
searched, replays that begin with the fewest epochs, instead of the defaults or before them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import optuna

from benchmarks.search.methods import METHODS, OURS
from benchmarks.search.replay import replay, task_worlds
from benchmarks.search.table import TABLES, Floats, read
from benchmarks.search.tasks import TASKS
from benchmarks.search.world import Ground, World, axes_of
from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Plan
from sweeper.search.loss_model.axes import Axis
from sweeper.search.search import known_starts
from sweeper.trials import Trial

RATE = "learning_rate"
GRID = 41
Starts = Callable[[Plan], list[Trial]]


@dataclass(frozen=True)
class Rate:
    """The learning rate of one strategy on one data set.

    Args:
        default: The rule book's.
        elsewhere: That with the lowest mean log loss on the other data sets.
        change: Predicted loss at ``elsewhere``, relative to that at the default.
    """

    default: float
    elsewhere: float
    change: float


def rates(grounds: Mapping[str, Ground], task: str) -> dict[str, Rate]:
    """By strategy, what all data sets but the task's own recommend."""
    ground, source = grounds[task], TASKS[task].source
    others = [one for name, one in grounds.items() if TASKS[name].source != source]
    found = {}
    for strategy in ground.models:
        axis = axes_of(ground.table.plan, strategy)[RATE]
        assert isinstance(axis, Axis)
        grid = np.array([axis.value(unit) for unit in np.linspace(0, 1, GRID)], dtype=float)
        elsewhere = grid[np.mean([_log_losses(one, strategy, grid) for one in others], 0).argmin()]
        default = float(ground.table.plan.candidate(strategy).defaults()[RATE])
        there, here = _log_losses(ground, strategy, np.array([elsewhere, default]))
        found[strategy] = Rate(default, float(elsewhere), float(np.expm1(there - here)))
    return found


def _log_losses(ground: Ground, strategy: str, at: Floats) -> Floats:
    defaults = ground.table.plan.candidate(strategy).defaults()
    return np.log(ground.truths(strategy, [{**defaults, RATE: float(rate)} for rate in at]))


def defaults(plan: Plan) -> list[Trial]:
    """What sweeper begins with."""
    return list(known_starts(plan, plan.budget.trials))


def shortest(plan: Plan) -> list[Trial]:
    """The defaults with the fewest epochs."""
    fewest = {
        one.strategy: {EPOCHS: min(one.parameters[EPOCHS].choices or ())}
        for one in plan.candidates
        if EPOCHS in one.parameters
    }
    return [
        one.model_copy(update={"parameters": one.parameters | fewest.get(one.strategy, {})})
        for one in defaults(plan)
    ]


def shortest_first(plan: Plan) -> list[Trial]:
    """The same, then the defaults."""
    usual = defaults(plan)
    return [one for one in shortest(plan) if one not in usual] + usual


_SHORTER: dict[str, Starts] = {
    "the defaults with the fewest epochs": shortest,
    "these, then the defaults": shortest_first,
}


def until_good(task: str, starts: Starts, seeds: int, budgets: float) -> Floats:
    """Full budgets of each seed's search until good enough."""
    make = task_worlds(task)
    unit = make(0).unit

    def one(world: World, seed: int) -> float:
        ended = replay(world, METHODS[OURS], seed, budgets, unit, starts(world.plan))
        return min(ended.reached(), ended.limit) / unit

    return np.array([one(make(seed), seed) for seed in range(seeds)])


def main() -> None:
    """Print the rates, then the replays."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.first_trials")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--budgets", type=float, default=20.0)
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tasks = [one for one in TASKS.values() if one.written is None]
    # A model needs trials of one length.
    grounds = {one.name: Ground.of(read(one.name, TABLES)) for one in tasks if one.epochs}
    print("| task | strategy | default rate | best elsewhere | loss there |\n|---|---|---|---|---|")
    for name in grounds:
        for strategy, rate in rates(grounds, name).items():
            shown = f"{rate.default:.2g} | {rate.elsewhere:.2g} | {rate.change:+.1%}"
            print(f"| {name} | {strategy} | {shown} |")
    print("\n| task | first trials | full budgets | less the defaults' |\n|---|---|---|---|")
    for name in [one.name for one in tasks if one.epochs is None]:
        for task in (name, f"{name}-head"):
            usual = until_good(task, defaults, chosen.seeds, chosen.budgets)
            print(f"| {task} | the defaults | {usual.mean():.1f} | |", flush=True)
            for title, starts in _SHORTER.items():
                other = until_good(task, starts, chosen.seeds, chosen.budgets)
                apart = other - usual
                half = 1.96 * apart.std(ddof=1) / np.sqrt(len(apart))
                print(
                    f"| {task} | {title} | {other.mean():.1f} | {apart.mean():+.1f} ± {half:.1f} |"
                )


if __name__ == "__main__":
    main()
