"""Simulated studies of known truth, judged by sweeper's own selection and verdict.

Items, configurations and seeds are drawn from recorded trials; what follows (finalists, order,
recommendation, comparisons, verdict) is the product's code on its own types, without files.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.table import HEAD, read
from sweeper.evaluation import significance
from sweeper.evaluation.significance import RESAMPLES, Scores
from sweeper.execution.next_attempt import configure
from sweeper.execution.state.seal import seeds_of
from sweeper.execution.state.status import Status
from sweeper.findings.findings import Comparison
from sweeper.findings.study.reading import RunFiles, SeedRun, TrialFiles
from sweeper.findings.verdict.comparisons import compare_finalists
from sweeper.findings.verdict.decide import verdict
from sweeper.findings.verdict.summary import run_summary
from sweeper.plans import Configuration, Plan
from sweeper.runfolder import RunFolder
from sweeper.search.finalists import Trainings, choose, in_order, recommend, seeds_dominate
from sweeper.trials import BaselineResult, TestScore, TestSeal, TrialConfig, TrialResult

Floats = NDArray[np.float64]

TRIALS = 20
BASELINE = "equal"
# Losses are clipped to these bounds before they become log odds; records hold half precision.
_LOWEST, _HIGHEST = 1e-6, 60.0


@dataclass(frozen=True)
class Recorded:
    """What the recorded trials of one task say about configurations and seeds.

    All values are log odds of an item's reference answer, ``log(p / (1 - p))`` at loss
    ``-log p``. There, noise of seeds can be added to any configuration: losses stay positive. An
    item of a classification is right above 0. That is exact for two classes; with more, an item
    can also be right below.

    Args:
        plan: The task's frozen plan, without the head.
        configurations: One row for each configuration that was trained with two seeds, their
            mean; shape ``(configurations, items)``.
        noise: Half the difference of these two trainings times the square root of 2, which has
            the variance of one seed; same shape.
        seconds: Of each configuration's training.
    """

    plan: Plan
    configurations: Floats
    noise: Floats
    seconds: Floats

    def shift(self, gain: float, *, accuracy: bool, draws: int = 200_000) -> float | None:
        """By how much the log odds of all items must rise for a gain; None where nothing can."""
        rng = np.random.default_rng(0)
        rows, noises = rng.integers(len(self.noise), size=(2, draws))
        items = rng.integers(self.noise.shape[1], size=draws)
        odds = self.configurations[rows, items]
        odds = odds + rng.choice((-1.0, 1.0), draws) * self.noise[noises, items]

        def gained(by: float) -> float:
            better, same = (
                (odds + added > 0.0) if accuracy else -losses(odds + added) for added in (by, 0.0)
            )
            return float(better.mean() - same.mean())

        low, high = 0.0, 32.0
        if gained(high) < gain:
            return None
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if gained(middle) < gain else (low, middle)
        return high


def recorded(task: str, seeds: int = 3) -> Recorded:
    """The pairs of trials that repeat one configuration, the better half of them.

    Args:
        seeds: Trainings of each finalist in a study.
    """
    table = read(task)
    kept = table.only([one.strategy for one in table.plan.candidates if one.strategy != HEAD])
    groups = defaultdict(list)
    for trial in kept.trials:
        if trial.complete:
            groups[trial.strategy, tuple(sorted(trial.parameters.items()))].append(trial)
    pairs = [group[:2] for group in groups.values() if len(group) > 1]
    pairs.sort(key=lambda pair: pair[0].loss + pair[1].loss)
    better = pairs[: (len(pairs) + 1) // 2]
    budget = kept.plan.budget.model_copy(update={"confirmation_seeds": seeds})
    odds = log_odds(np.array([[one.final for one in pair] for pair in better]))
    return Recorded(
        plan=kept.plan.model_copy(update={"budget": budget}),
        configurations=odds.mean(axis=1),
        noise=(odds[:, 0] - odds[:, 1]) / np.sqrt(2),
        seconds=np.array([pair[0].training_seconds[-1] for pair in better]),
    )


def log_odds(of_losses: Floats) -> Floats:
    """Log odds of the reference answer.

    >>> losses(log_odds(np.array([0.25, 3.0]))).round(6).tolist()
    [0.25, 3.0]
    """
    return np.asarray(-np.log(np.expm1(np.clip(of_losses, _LOWEST, _HIGHEST))))


def losses(odds: Floats) -> Floats:
    """Losses of items with these log odds."""
    return np.asarray(np.logaddexp(0.0, -odds))


@dataclass(frozen=True)
class World:
    """How studies are drawn.

    Args:
        alike: Whether all trials of a study have one configuration. Otherwise each has its own:
            for each item, that of a recorded configuration drawn at random. The expected scores
            are the same, but items differ between trials as those of different configurations do.
        accuracy: Whether accuracy is the headline metric; otherwise loss.
        items: Of the validation split, and as many of the test split.
        shift: What one searched trial has above all other models, in log odds; all trials, if
            ``all_better``, which are then equally good and only better than the baseline.
        most_seeds: Trainings of each finalist where seeds make up most of the noise; 0 for as many
            as the plan says in any case.
    """

    recorded: Recorded
    alike: bool
    accuracy: bool
    items: int
    shift: float = 0.0
    all_better: bool = False
    most_seeds: int = 0


@dataclass(frozen=True)
class Claims:
    """What the verdict of one study says.

    Args:
        found: Whether the shifted trial is the recommended one.
        default: The recommended trial against its default; None where it is the default.
        improves: Whether it is called better than its default, in the headline metric or in loss.
        baseline: The recommended trial against the baseline.
        pays: Whether the verdict says that fine-tuning pays.
        ahead: Whether the recommended trial is called better than another finalist.
        seeds: Trainings of each finalist.
    """

    found: bool
    default: Comparison | None
    improves: bool
    baseline: Comparison | None
    pays: bool
    ahead: bool
    seeds: int


def study(world: World, seed: int) -> Claims:
    """Draw one study and let sweeper judge it."""
    simulation = _Simulation(world, np.random.default_rng(seed))
    run = simulation.run()
    contest = compare_finalists(run)
    said = verdict(run, run_summary(run), contest)
    rivals = {f"trial-{number}" for number in run.seal.order} if run.seal else set()
    rivals.discard(contest.default or "")
    return Claims(
        found=world.all_better or said.recommended_trial == simulation.better,
        default=contest.against(contest.default),
        improves=any(is_better(contest.against(contest.default, in_loss=w)) for w in (False, True)),
        baseline=contest.against(BASELINE),
        pays=said.fine_tuning_needed is True,
        ahead=any(is_better(one) for one in said.comparisons if one.second in rivals),
        seeds=run.plan.budget.confirmation_seeds,
    )


def is_better(comparison: Comparison | None) -> bool:
    """Whether the comparison claims a gain."""
    return comparison is not None and comparison.outcome == "better"


@cache
def _resamples(total: int, items: int) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """How often each of ``total`` equally likely items is in each resample, and the generator's
    state afterwards."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, total, (RESAMPLES, items))
    counts = np.array([np.bincount(row, minlength=total) for row in drawn])
    return counts, dict(rng.bit_generator.state)


@cache
def _shares(items: int) -> tuple[Floats, dict[str, Any]]:
    """The share of each item in each resample."""
    counts, state = _resamples(items, items)
    return counts / items, state


@cache
def _cumulative(halves: int, items: int) -> tuple[NDArray[np.int16], dict[str, Any]]:
    """How often the first half-items are in each resample; shape ``(halves + 1, RESAMPLES)``.

    In half-items, of which an item has two, pseudo-items are whole numbers.
    """
    counts, state = _resamples(halves, items)
    sums = np.zeros((halves + 1, RESAMPLES), dtype=np.int16)
    np.cumsum(counts.T, axis=0, out=sums[1:])
    return sums, state


def shared_deviations(
    values: Floats, rng: np.random.Generator, pseudo: dict[float, float]
) -> Floats:
    """``item_deviations`` with the same resamples for each comparison.

    If values are few, those of one value are neighbours, so that two columns of the cumulative
    counts say how often a resample has the value.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if not pseudo and distinct.size >= values.size // 2:
        shares, rng.bit_generator.state = _shares(values.size)
        return np.asarray(shares @ values - values.mean())
    levels = np.concatenate([distinct, list(pseudo)])
    halves = 2 * np.concatenate([counts, list(pseudo.values())])
    ends = np.concatenate([[0], np.cumsum(halves)]).astype(np.int64)
    sums, rng.bit_generator.state = _cumulative(int(ends[-1]), values.size)
    drawn = levels @ np.diff(sums[ends], axis=0) / values.size
    return np.asarray(drawn - halves @ levels / ends[-1])


def draw_once() -> None:
    """Draw the same resamples for each comparison in this process, which takes far less time."""
    significance.item_deviations = shared_deviations


class _Simulation:
    """One study: its items, its trials, and their trainings."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.source = world.recorded
        self.plan = world.recorded.plan
        self.columns = rng.integers(self.source.noise.shape[1], size=2 * world.items)
        candidates = self.plan.candidates
        extra = rng.integers(len(candidates), size=TRIALS - len(candidates))
        self.candidates = [*candidates, *(candidates[place] for place in extra)]
        self.better = int(rng.integers(len(candidates), TRIALS))
        shared = self._mixed()
        self.odds = [shared if world.alike else self._mixed() for _ in range(TRIALS)]
        for number in range(TRIALS) if world.all_better else [self.better]:
            self.odds[number] = self.odds[number] + world.shift
        # A model without seeds that expects the same loss: each item has a seed of its own.
        frozen = shared if world.alike else self._mixed()
        self.baseline = frozen + self._sign(frozen.size) * self.source.noise[self._rows()]
        self.seconds = rng.choice(self.source.seconds, size=TRIALS)
        self.trained: dict[tuple[int, int], Floats] = {}

    def _rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self.rng.integers(len(self.source.noise), size=self.columns.size), self.columns

    def _sign(self, size: int | None = None) -> Floats:
        return np.asarray(self.rng.choice((-1.0, 1.0), size))

    def _mixed(self) -> Floats:
        return np.asarray(self.source.configurations[self._rows()])

    def train(self, number: int, seed: int) -> TrialResult:
        """Train a trial with a seed; its log odds are kept."""
        noise = self.source.noise[self.rng.integers(len(self.source.noise)), self.columns]
        odds = self.odds[number] + self._sign() * noise
        self.trained[number, seed] = odds
        return TrialResult(
            number=number,
            attempt=1,
            seed=seed,
            state="COMPLETE",
            validation_loss=float(self._validation(odds).mean()),
            training_seconds=float(self.seconds[number]),
        )

    def _validation(self, odds: Floats) -> Floats:
        return losses(odds[: self.world.items])

    def run(self) -> RunFiles:
        """The study after all of its phases."""
        plan = self.plan
        configs = [self._config(number) for number in range(TRIALS)]
        results = {one.number: self.train(one.number, one.seed) for one in configs}
        strategies = {one.number: one.strategy for one in configs}
        finalists = choose(results, strategies, plan.budget.finalists)
        seeds = seeds_of(plan)
        again = {number: [self.train(number, seed) for seed in seeds] for number in finalists}
        trained = [self._trainings(n, [results[n], *again[n]]) for n in finalists]
        if self.world.most_seeds and seeds_dominate(trained):
            budget = plan.budget.model_copy(update={"confirmation_seeds": self.world.most_seeds})
            plan = plan.model_copy(update={"budget": budget})
            more = [seed for seed in seeds_of(plan) if seed not in seeds]
            seeds = seeds_of(plan)
            for number in finalists:
                again[number] += [self.train(number, seed) for seed in more]
            trained = [self._trainings(n, [results[n], *again[n]]) for n in finalists]
        ordered = tuple(one.trial for one in in_order(trained))
        defaults = [one.number for one in configs if one.origin == "default"]
        scored = [(n, plan.seed) for n in dict.fromkeys([*ordered, *defaults])]
        scored += [(number, seed) for number in ordered for seed in seeds]
        baseline = self._baseline()
        scores = [self._score(BASELINE, self.baseline)]
        scores += [self._score(f"trial-{n}", self.trained[n, s], n, s) for n, s in scored]
        seal = TestSeal(
            order=ordered,
            recommended=recommend(trained),
            opened_at="",
            headline_metric="accuracy" if self.world.accuracy else "loss",
            higher_is_better=self.world.accuracy,
            items=self.world.items,
            scores=tuple(scores),
            complete=True,
        )
        trials = [self._files(config, results[config.number], again) for config in configs]
        status = Status(phase="complete", trials=TRIALS, started_at="", updated_at="")
        folder = RunFolder(Path("simulated"))
        return RunFiles(folder, plan, "", tuple(trials), (baseline,), seal, status)

    def _config(self, number: int) -> TrialConfig:
        candidate = self.candidates[number]
        return configure(
            self.plan,
            Configuration(
                number=number,
                strategy=candidate.strategy,
                model=candidate.model,
                parameters=candidate.defaults(),
                origin="default" if number < len(self.plan.candidates) else "search",
            ),
        )

    def _trainings(self, number: int, results: list[TrialResult]) -> Trainings:
        rows = [self._validation(odds) for (n, _), odds in self.trained.items() if n == number]
        return Trainings(number, results, Scores.of(rows))

    def _baseline(self) -> BaselineResult:
        found = self._validation(self.baseline)
        right = self.baseline[: self.world.items] > 0.0
        return BaselineResult(
            name=BASELINE,
            title=BASELINE,
            validation_loss=float(found.mean()),
            metrics={"accuracy": float(right.mean())} if self.world.accuracy else {},
        )

    def _score(
        self, name: str, odds: Floats, trial: int | None = None, seed: int | None = None
    ) -> TestScore:
        found = losses(odds[self.world.items :])
        right = (odds[self.world.items :] > 0.0).astype(float)
        scores = right if self.world.accuracy else found
        return TestScore(
            name=name,
            trial=trial,
            seed=seed,
            test_loss=float(found.mean()),
            metrics={"loss": float(found.mean())},
            item_scores=tuple(scores.tolist()),
            item_losses=tuple(found.tolist()),
            items_sha256="",
        )

    @staticmethod
    def _files(
        config: TrialConfig, result: TrialResult, again: dict[int, list[TrialResult]]
    ) -> TrialFiles:
        seeds = tuple(SeedRun(one, None) for one in again.get(config.number, ()))
        compared = result.model_copy(update={"objective": result.validation_loss})
        return TrialFiles(config=config, result=compared, seeds=seeds)
