"""How often the verdict claims a gain that is not there, and how often it finds one that is.

``python -m benchmarks.verdict`` prints one line for each task, metric and kind of study.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from benchmarks.verdict.studies import Claims, World, draw_once, is_better, recorded, study

TASKS = ("wellformed", "intents", "restaurants")
# The gain that should be found, in standard errors of the paired difference.
ERRORS = 4.0
# Quantile of the normal distribution, for whom the standard error is known to.
KNOWN = float(stats.norm.ppf(0.975))
# Studies with a gain have other seeds than those without.
_APART = 1_000_000


@dataclass(frozen=True)
class Rate:
    """How often something was claimed."""

    claimed: int
    of: int

    @property
    def upper(self) -> float:
        """One-sided upper 95% bound (Clopper and Pearson 1934, Biometrika 26:404)."""
        if self.claimed == self.of:
            return 1.0
        return float(stats.beta.ppf(0.95, self.claimed + 1, self.of - self.claimed))

    @property
    def lower(self) -> float:
        """One-sided lower 95% bound."""
        if self.claimed == 0:
            return 0.0
        return float(stats.beta.ppf(0.05, self.claimed, self.of - self.claimed + 1))


def false_alarms(found: Sequence[Claims]) -> dict[str, Rate]:
    """How often each claim was made in studies where nothing is better."""
    claims = {
        "default": [one.improves for one in found],
        "baseline": [is_better(one.baseline) for one in found],
        "pays": [one.pays for one in found],
        "finalist": [one.ahead for one in found],
    }
    return {name: Rate(sum(made), len(made)) for name, made in claims.items()}


def standard_errors(found: Sequence[Claims]) -> dict[str, float]:
    """Standard deviation, over studies, of the difference that the verdict reports."""
    against = {
        "default": [one.default.difference.value for one in found if one.default],
        "baseline": [one.baseline.difference.value for one in found if one.baseline],
    }
    return {name: float(np.std(values, ddof=1)) for name, values in against.items()}


@dataclass(frozen=True)
class Power:
    """How often a true gain is found.

    Args:
        claimed: The better trial is recommended and called better.
        chosen: It is recommended.
        ceiling: It is recommended, and its measured difference is 1.96 of the true standard errors.
            Who knows the true errors claims this often, without correction for other comparisons.
    """

    claimed: Rate
    chosen: Rate
    ceiling: Rate

    def __str__(self) -> str:
        known = self.ceiling.claimed / self.ceiling.of
        return (
            f"{self.claimed.claimed / self.claimed.of:.0%} (>{self.claimed.lower:.0%}; "
            f"known errors {known:.0%}; chosen {self.chosen.claimed / self.chosen.of:.0%})"
        )


def power(world: World, errors: dict[str, float], studies: int) -> dict[str, Power]:
    """How often a true gain is found.

    ``default`` and ``baseline``: one searched trial is better than all other models, by four
    standard errors of its comparison with that model. ``tuning``: all trials are better than the
    baseline, by as much as in ``baseline``. A gain is found where the verdict claims it in the
    headline metric or in loss.
    """
    rates = {}
    for name, against in (("default", "default"), ("baseline", "baseline"), ("tuning", "baseline")):
        gain = ERRORS * errors[against]
        shift = world.recorded.shift(gain, accuracy=world.accuracy)
        if shift is None:
            continue  # more than what is wrong at all
        better = replace(world, shift=shift, all_better=name == "tuning")
        found = [study(better, _APART + seed) for seed in range(studies)]
        chosen = [one for one in found if one.found]
        compared = [one for claims in chosen if (one := getattr(claims, against)) is not None]
        called = sum(one.improves if name == "default" else one.pays for one in chosen)
        sign = 1 if world.accuracy else -1
        clear = sum(sign * one.difference.value > KNOWN * errors[against] for one in compared)
        counts = (called, len(chosen), clear)
        rates[name] = Power(*(Rate(count, studies) for count in counts))
    return rates


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.verdict", description=__doc__)
    parser.add_argument("--studies", type=int, default=2000, help="without any gain, per line")
    parser.add_argument("--power-studies", type=int, default=500, help="with a gain; 0 for none")
    parser.add_argument("--items", type=int, default=200, help="of the test split")
    parser.add_argument("--tasks", default=",".join(TASKS), help="tables of benchmarks/search")
    parser.add_argument("--metrics", default="accuracy,loss")
    parser.add_argument("--trials", choices=("alike", "mixed", "both"), default="both")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each finalist")
    parser.add_argument(
        "--most-seeds", type=int, default=0, help="trainings where seeds make up most of the noise"
    )
    chosen = parser.parse_args()
    draw_once()
    kinds = ("alike", "mixed") if chosen.trials == "both" else (chosen.trials,)
    for task in chosen.tasks.split(","):
        source = recorded(task, chosen.seeds)
        for metric in chosen.metrics.split(","):
            if metric == "accuracy" and source.plan.facts.task != "classification":
                continue
            for kind in kinds:
                world = World(
                    source, kind == "alike", metric == "accuracy", chosen.items,
                    most_seeds=chosen.most_seeds,
                )  # fmt: skip
                print(line(f"{task} {metric} {kind}", world, chosen.studies, chosen.power_studies),
                      flush=True)  # fmt: skip


def line(title: str, world: World, studies: int, power_studies: int) -> str:
    """One line of the table: false alarms in per cent with their bound, then power."""
    found = [study(world, seed) for seed in range(studies)]
    alarms = false_alarms(found)
    # A gain is as large as without further seeds, so that these make it easier to find.
    plain, seeds = replace(world, most_seeds=0), world.recorded.plan.budget.confirmation_seeds
    errors = standard_errors(
        [one if one.seeds == seeds else study(plain, seed) for seed, one in enumerate(found)]
    )
    told = [f"{name} {one.claimed}/{one.of} <{one.upper:.1%}" for name, one in alarms.items()]
    told += [f"SE {name} {error:.4f}" for name, error in errors.items()]
    told += [f"seeds {np.mean([one.seeds for one in found]):.2f}"] if world.most_seeds else []
    if power_studies:
        rates = power(world, errors, power_studies)
        told += [f"power {name} {found}" for name, found in rates.items()]
    return " | ".join([title, *told])


if __name__ == "__main__":
    main()
