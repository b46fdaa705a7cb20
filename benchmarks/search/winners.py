"""What searches found in a replay, trained for real: whether its winners are winners.

    python -m benchmarks.search.winners --data DIR --records RECORDS [--tasks a,b] [--searches 10]
        [--methods "sweeper/TPE, median"] [--world table|model] [--strategies a,b] [--tables DIR]

Each method searches with several seeds in simulated time. What it would recommend after all budgets
is then trained once by sweeper's own backend, on a seed that no recorded trial had. A table answers
with the nearest recorded trial, whose loss is what it promises: of another configuration than the
one that is trained. Set OMP_NUM_THREADS=1; a training takes what a recorded trial takes.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path

import optuna
from scipy import stats

from benchmarks.search.design import Planned
from benchmarks.search.methods import METHODS, OURS, Method
from benchmarks.search.record import Recorder
from benchmarks.search.replay import MOST_TRIALS, answered_by, seeded
from benchmarks.search.table import TABLES, read
from benchmarks.search.tasks import TASKS
from benchmarks.search.world import Beforehand, Ground, ModelWorld, Realised, TableWorld
from sweeper.search import space
from sweeper.search.engine import StopCondition, search
from sweeper.search.starts import known_starts
from sweeper.spec import Scalar

# Recorded trials have the plan's seed, or one or two more.
FRESH_SEED = 1000
Make = type[TableWorld] | type[ModelWorld]
WORLDS: dict[str, Make] = {"table": TableWorld, "model": ModelWorld}


@dataclass(frozen=True)
class Winner:
    """What a search would recommend, and the loss that its world promises."""

    strategy: str
    parameters: dict[str, Scalar]
    promised: float


def winner(ground: Ground, make: Make, method: Method, seed: int, budgets: float) -> Winner:
    """Search once; the incumbent on half A at the end."""
    world = make(ground, seed)
    plan = seeded(world.plan, seed, None)
    realised: list[Realised] = []
    objective = answered_by(world, plan, realised)
    starts = [slot.fixed for slot in known_starts(plan, plan.budget.trials)]
    # A table gives each of its trials once, so that the unit is asked of another world.
    limit = StopCondition(MOST_TRIALS, budgets * make(ground, seed).unit)
    known = world.beforehand if method.sampler == OURS else Beforehand()
    searched = search(
        plan,
        objective,
        limit,
        starts=starts,
        sampler=method.sampler,
        pruner=method.pruner,
        untrained=known.untrained,
    )
    pairs = zip(searched.trials, realised, strict=True)
    ended = [(shown.first_half, one, shown) for one, shown in pairs if one.state == "COMPLETE"]
    _, best, shown = min(ended, key=lambda one: one[0])
    return Winner(best.strategy, best.parameters, shown.truth)


def defaults(ground: Ground, make: Make) -> list[Winner]:
    """The rule book's, beside which winners are to be seen."""
    world = make(ground, 0)
    return [
        Winner(key, one.defaults(), world.trial(key, one.defaults()).truth)
        for key, one in space.candidates(world.plan).items()
    ]


def trained(recorder: Recorder, found: list[Winner]) -> list[float]:
    """The validation loss of each, trained for real; the same configuration once."""
    known: dict[str, float] = {}
    for one in found:
        name = repr((one.strategy, sorted(one.parameters.items())))
        if name not in known:
            result = recorder.train(Planned(0, one.strategy, one.parameters, FRESH_SEED))
            known[name] = float("inf") if result.validation_loss is None else result.validation_loss
            print(f"  {one.strategy} promised {one.promised:.4f} got {known[name]:.4f} "
                  f"{one.parameters}", flush=True)  # fmt: skip
    return [known[repr((one.strategy, sorted(one.parameters.items())))] for one in found]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.search.winners")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--records", type=Path, required=True, help="the recorder's --out")
    parser.add_argument("--tables", type=Path, default=TABLES)
    parser.add_argument("--tasks", default="intents")
    parser.add_argument("--methods", default="sweeper/TPE, median", help="separated by /")
    parser.add_argument("--searches", type=int, default=10)
    parser.add_argument("--budgets", type=float, default=20.0)
    parser.add_argument("--world", choices=WORLDS, default="table")
    parser.add_argument("--strategies", default="", help="of tables, instead of all")
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for task in chosen.tasks.split(","):
        table = read(task, chosen.tables)
        if chosen.strategies:
            table = table.only(chosen.strategies.split(","))
        ground, make = Ground.of(table), WORLDS[chosen.world]
        recorder = Recorder(TASKS[task], chosen.data, chosen.records)
        _show(task, "defaults", *_both(recorder, defaults(ground, make)))
        for name in chosen.methods.split("/"):
            seeds = range(chosen.searches)
            found = [winner(ground, make, METHODS[name], seed, chosen.budgets) for seed in seeds]
            _show(task, name, *_both(recorder, found))


def _both(recorder: Recorder, found: list[Winner]) -> tuple[list[float], list[float]]:
    return [one.promised for one in found], trained(recorder, found)


def _show(task: str, name: str, promised: list[float], got: list[float]) -> None:
    together = ""
    if len(set(promised)) > 2:
        together = f", ranks correlate {stats.spearmanr(promised, got).statistic:.2f}"
    print(
        f"{task}, {name}: promised {statistics.mean(promised):.4f}, trained "
        f"{statistics.mean(got):.4f} ({min(got):.4f} to {max(got):.4f}){together}",
        flush=True,
    )


if __name__ == "__main__":
    main()
