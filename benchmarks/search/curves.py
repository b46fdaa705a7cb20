"""How well the end of a training can be predicted from its first rungs.

    python -m benchmarks.search.curves [--peft CLONE]

Each recorded trial is predicted from its losses up to a quarter and up to half of its budget. Five
other trials of its task, strategy and start have ended by then. The methods are:

- *loss*: it ends as it stands now;
- *peers*: sweeper's pruner, which adds the mean gain of the other trials (``pruner.forecast``);
- *power law*: the posterior mean over curves ``a + b k^-c``, with the gains of the other recorded
  tasks as the prior;
- *both*: the power law, moved by its mean error on the other trials.

``--peft`` names a clone of huggingface/peft, whose MetaMathQA comparison has 63 runs of 20 points:
does the training loss of the first quarter find the runs with the best test accuracy?
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.search.table import TABLES, Floats, read
from sweeper.search.cost_model.observations import START
from sweeper.search.pruner import forecast, prior_std

PEERS, TARGETS, DRAWS = 5, 10, 40
# Others need no prediction: they are far behind from the start.
GOOD = 2.0
# Relative noise of one loss on a rung's items.
NOISE = 0.05
EXPONENTS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)
FLOORS = np.linspace(0.0, 0.99, 34)
METHODS = ("loss", "peers", "power law", "both")


@dataclass(frozen=True)
class Curve:
    """One training: losses of the same items at each rung, the last one at its end."""

    losses: Floats

    def gain(self, rung: int) -> float:
        """Log of the end over the loss at a rung, from 1."""
        return math.log(self.losses[-1] / self.losses[rung - 1])


@dataclass(frozen=True)
class Prior:
    """What log gains from a rung to the end are expected to be."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, curves: Sequence[Curve], rung: int) -> Prior:
        """From other curves."""
        gains = [one.gain(rung) for one in curves]
        return cls(float(np.mean(gains)), max(float(np.std(gains)), NOISE))


def power_law(losses: Floats, rungs: int, prior: Prior) -> float:
    """Log of the expected loss at the last of so many rungs, from those so far."""
    rung = np.arange(1, len(losses) + 1, dtype=float)
    exponents, floors = np.meshgrid(EXPONENTS, FLOORS * losses.min())
    steps = rung ** -exponents[..., None]
    scale = (steps * (losses - floors[..., None])).sum(-1) / (steps**2).sum(-1)
    scale = np.maximum(scale, 0.0)
    fitted = floors[..., None] + scale[..., None] * steps
    ends = np.log(np.maximum(floors + scale * float(rungs) ** -exponents, 1e-9))
    misfit = (np.log(np.maximum(fitted, 1e-9) / losses) ** 2).sum(-1) / NOISE**2
    gain = (ends - math.log(losses[-1]) - prior.mean) / prior.deviation
    weights = -0.5 * (misfit + gain**2)
    posterior = np.exp(weights - weights.max())
    return float((posterior * ends).sum() / posterior.sum())


def groups(name: str) -> list[list[Curve]]:
    """The curves of a recorded task that ended near its best, by strategy and start."""
    table = read(name)
    best = min(one.loss for one in table.trials)
    found: dict[object, list[Curve]] = defaultdict(list)
    for one in table.trials:
        whole = len(one.items) == table.rungs - 1 and table.rungs > 2
        if whole and one.loss <= GOOD * best:
            end = one.final[: one.items.shape[1]].mean()
            curve = Curve(np.asarray([*one.items.mean(axis=1), end]))
            found[one.strategy, one.parameters.get(START)].append(curve)
    return [curves for curves in found.values() if len(curves) >= PEERS + TARGETS]


def scores(curves: Sequence[Curve], rung: int, prior: Prior) -> dict[str, tuple[float, float]]:
    """Root mean square error of the log of the end, and rank correlation, by method."""
    rng = np.random.default_rng(0)
    errors, ranks = defaultdict(list), defaultdict(list)
    rungs = len(curves[0].losses)
    now = np.log([one.losses[rung - 1] for one in curves])
    ends = np.log([one.losses[-1] for one in curves])
    laws = np.asarray([power_law(one.losses[:rung], rungs, prior) for one in curves])
    for _ in range(DRAWS):
        drawn = rng.permutation(len(curves))
        peers, targets = drawn[:PEERS], drawn[PEERS : PEERS + TARGETS]
        pairs = [(math.exp(now[n]), math.exp(ends[n])) for n in peers]
        doubt = prior_std(1 - rung / rungs, 0.0)
        made = {
            "loss": now[targets],
            "peers": [_log_end(math.exp(now[n]), pairs, doubt) for n in targets],
            "power law": laws[targets],
            "both": laws[targets] + (ends - laws)[peers].mean(),
        }
        for method, said in made.items():
            errors[method].append(float(((said - ends[targets]) ** 2).mean()))
            ranks[method].append(float(stats.spearmanr(said, ends[targets]).statistic))
    return {m: (math.sqrt(np.mean(errors[m])), float(np.nanmean(ranks[m]))) for m in METHODS}


def _log_end(loss: float, pairs: Sequence[tuple[float, float]], doubt: float) -> float:
    ours = forecast(loss, pairs, doubt)
    assert ours is not None
    return ours.log_end


def peft_runs(clone: Path) -> Iterator[tuple[Curve, float]]:
    """Training losses of PEFT's MetaMathQA runs, and their test accuracy."""
    for path in sorted(clone.glob("method_comparison/MetaMathQA/results/*.json")):
        points = json.loads(path.read_text(encoding="utf-8"))["train_info"]["metrics"]
        losses = [point["train loss"] for point in points if "valid accuracy" in point]
        yield Curve(np.asarray(losses)), points[-1]["test accuracy"]


def found_among(said: Sequence[float], truth: Sequence[float], best: int, kept: int) -> int:
    """How many of the best are among those that are kept, which have the lowest predictions."""
    top = set(np.argsort(-np.asarray(truth), kind="stable")[:best].tolist())
    return len(top & set(np.argsort(said, kind="stable")[:kept].tolist()))


def print_peft(clone: Path) -> None:
    """Print what a quarter of PEFT's runs tells of their ends."""
    runs = list(peft_runs(clone))
    curves, truth = [one for one, _ in runs], [accuracy for _, accuracy in runs]
    quarter, rungs = len(curves[0].losses) // 4, len(curves[0].losses)
    prior = Prior.of(curves, quarter)  # of these very runs: better than anybody knows
    ways: dict[str, Callable[[Curve], float]] = {
        "loss at a quarter": lambda one: float(one.losses[quarter - 1]),
        "power law at a quarter": lambda one: power_law(one.losses[:quarter], rungs, prior),
        "loss at the end": lambda one: float(one.losses[-1]),
    }
    print(f"\nPEFT, {len(runs)} runs\n\n| by | rank correlation | best 3 among 3 | among 16 |")
    print("|---|---|---|---|")
    for title, way in ways.items():
        said = [way(one) for one in curves]
        rank = -float(stats.spearmanr(said, truth).statistic)
        few, quarter_of = (found_among(said, truth, 3, kept) for kept in (3, len(runs) // 4 + 1))
        print(f"| {title} | {rank:.2f} | {few} | {quarter_of} |")


def main() -> None:
    """Print errors and rank correlations of each task, and of PEFT's runs."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.curves")
    parser.add_argument("--peft", type=Path, help="a clone of huggingface/peft")
    chosen = parser.parse_args()
    tasks = {path.stem: groups(path.stem) for path in sorted(TABLES.glob("*.npz"))}
    tasks = {name: found for name, found in tasks.items() if found}
    print(f"| task | rung | {' | '.join(METHODS)} |\n|---|---|{'---|' * len(METHODS)}")
    pooled = defaultdict(list)
    for name, own in tasks.items():
        others = [
            one for other, found in tasks.items() if other != name for g in found for one in g
        ]
        for rung in (2, 4):
            prior = Prior.of(others, rung)
            made = [scores(curves, rung, prior) for curves in own]
            both = {m: np.mean([one[m] for one in made], axis=0) for m in METHODS}
            pooled[rung].append(both)
            shown = [f"{both[m][0]:.3f}, {both[m][1]:.2f}" for m in METHODS]
            print(f"| {name} | {rung} of 8 | {' | '.join(shown)} |", flush=True)
    for rung, rows in pooled.items():
        means = {m: np.mean([row[m] for row in rows], axis=0) for m in METHODS}
        shown = [f"{means[m][0]:.3f}, {means[m][1]:.2f}" for m in METHODS]
        print(f"| all | {rung} of 8 | {' | '.join(shown)} |")
    if chosen.peft is not None:
        print_peft(chosen.peft)


if __name__ == "__main__":
    main()
