"""Comparisons of two trials on the same validation items, each made once.

The sections on the search and on parameters often speak of the same two trials. Each pair is
compared over all of its trainings, and Holm's correction is taken over the pairs of one question,
so that every section says the same of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sweeper.evaluation.significance import (
    CONFIDENCE,
    Estimate,
    Scores,
    holm,
    items_to_settle,
    lacking,
    outcome,
    paired_difference,
)
from sweeper.findings.figures import Comparison, Metric, Outcome
from sweeper.findings.study.item_scores import interval, validation_costs
from sweeper.findings.study.metric import difference_bounds
from sweeper.findings.study.reading import TrialFiles

Pair = tuple[TrialFiles, TrialFiles]
K = TypeVar("K")


@dataclass(frozen=True)
class ComparedPair:
    """The scores of one model minus those of another, among ``comparisons`` of a question.

    ``adjusted_p`` is Holm's; None where it is not corrected.
    """

    estimate: Estimate
    adjusted_p: float | None
    comparisons: int

    @property
    def clear(self) -> bool:
        """Whether the two can be told apart, after the correction."""
        excluded = self.estimate.low > 0 or self.estimate.high < 0
        return excluded and (self.adjusted_p is None or self.adjusted_p < 1 - CONFIDENCE)

    def outcome(self, smallest: float) -> Outcome:
        """The outcome for the first trial against the second: a lower loss is better."""
        return outcome(self.estimate, smallest, higher_is_better=False, adjusted_p=self.adjusted_p)

    def gain(self, smallest: float) -> dict[str, object]:
        """The fields of a ``Gain`` of the second trial over the first."""
        return {
            "gain": interval(self.estimate),
            "outcome": self.turned().outcome(smallest),
            "lacking": lacking(self.estimate),
            "comparisons": self.comparisons,
        }

    def comparison(self, names: tuple[str, str], metric: Metric, smallest: float) -> Comparison:
        """What the difference shows of two models.

        Args:
            smallest: The smallest difference that matters.
        """
        estimate, higher = self.estimate, metric.higher_is_better
        word = outcome(estimate, smallest, higher, self.adjusted_p)
        # Non-inferiority: the end of the interval that is worse lies within the margin.
        not_worse = estimate.low > -smallest if higher else estimate.high < smallest
        return Comparison(
            first=names[0],
            second=names[1],
            metric=metric.name,
            difference=interval(estimate, difference_bounds(metric)),
            outcome=word,
            lacking=lacking(estimate),
            adjusted_p=self.adjusted_p,
            comparisons=self.comparisons,
            not_worse=None if lacking(estimate) else not_worse,
            more_items=items_to_settle(estimate, smallest) if word == "within noise" else None,
            seed_share=_seed_share(estimate),
        )

    def turned(self) -> ComparedPair:
        """The second trial minus the first: the same interval from the other end."""
        estimate = self.estimate
        turned = replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)
        return replace(self, estimate=turned)


@dataclass(frozen=True)
class ComparedPairs:
    """Every pair that was compared, by the numbers of its trials."""

    found: Mapping[tuple[int, int], ComparedPair]

    def of(self, first: TrialFiles, second: TrialFiles) -> ComparedPair | None:
        """The comparison of first against second, in this order."""
        number, other = first.config.number, second.config.number
        if (number, other) in self.found:
            return self.found[number, other]
        reverse = self.found.get((other, number))
        return reverse.turned() if reverse else None


def compare_pairs(*questions: Sequence[Pair]) -> ComparedPairs:
    """Compare the pairs of several questions, each pair once: for the first question that asks."""
    compared: dict[tuple[int, int], ComparedPair] = {}
    for pairs in questions:
        asked: dict[tuple[int, int], tuple[Scores, Scores]] = {}
        for first, second in pairs:
            names = first.config.number, second.config.number
            done = {names, names[::-1]} & {*compared, *asked}
            if not done and (scores := paired_scores(first, second)):
                asked[names] = scores
        answers = compare(asked)
        if len(asked) == 1:
            answers = {names: replace(pair, adjusted_p=None) for names, pair in answers.items()}
        compared |= answers
    return ComparedPairs(compared)


def compare(
    pairs: Mapping[K, tuple[Scores, Scores]], asked: Sequence[float] = ()
) -> dict[K, ComparedPair]:
    """The first minus the second of each pair, with Holm's correction over all of them.

    Args:
        asked: p values of further comparisons that answer the same question.
    """
    estimates = [paired_difference(first, second) for first, second in pairs.values()]
    p_values = [*(estimate.p for estimate in estimates), *asked]
    made = zip(pairs, estimates, holm(p_values)[: len(estimates)], strict=True)
    return {key: ComparedPair(estimate, p, len(p_values)) for key, estimate, p in made}


def _seed_share(estimate: Estimate) -> float | None:
    if estimate.seed_error is None:
        return None
    whole = estimate.seed_error**2 + estimate.item_error**2
    return estimate.seed_error**2 / whole if 0 < whole < float("inf") else None


def paired_scores(first: TrialFiles, second: TrialFiles) -> tuple[Scores, Scores] | None:
    """Costs of both on the same items, over all trainings; None where they were not kept."""
    own, other = validation_costs(first), validation_costs(second)
    if own is None or other is None or own.items.shape[1] != other.items.shape[1]:
        return None
    return own, other
