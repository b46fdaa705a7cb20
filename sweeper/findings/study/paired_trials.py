"""Comparisons of two trials on the same validation items.

Sections of the report often compare the same two trials. Each pair is compared once, over all
trainings, with Holm's correction over the pairs of one question, so that all sections agree.
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
from sweeper.findings.findings import Comparison, Metric, Outcome
from sweeper.findings.study.item_scores import interval, validation_costs
from sweeper.findings.study.metric import difference_bounds
from sweeper.findings.study.reading import TrialFiles

Pair = tuple[TrialFiles, TrialFiles]
K = TypeVar("K")


@dataclass(frozen=True)
class ComparedPair:
    """The difference of two models' scores, first minus second.

    ``comparisons`` is the number of comparisons in Holm's correction. ``adjusted_p`` is the
    corrected p value; None without correction.
    """

    estimate: Estimate
    adjusted_p: float | None
    comparisons: int

    @property
    def clear(self) -> bool:
        """Whether the difference is significant after the correction."""
        excluded = self.estimate.low > 0 or self.estimate.high < 0
        return excluded and (self.adjusted_p is None or self.adjusted_p < 1 - CONFIDENCE)

    def outcome(self, margin: float) -> Outcome:
        """The outcome of the first trial against the second; a lower cost is better."""
        return outcome(self.estimate, margin, higher_is_better=False, adjusted_p=self.adjusted_p)

    def gain(self, margin: float) -> dict[str, object]:
        """The fields of a ``Gain`` of the second trial over the first."""
        return {
            "gain": interval(self.estimate),
            "outcome": self.swapped().outcome(margin),
            "lacking": lacking(self.estimate),
            "comparisons": self.comparisons,
        }

    def comparison(self, names: tuple[str, str], metric: Metric, margin: float) -> Comparison:
        """The comparison of two models with this difference.

        Args:
            margin: The smallest difference that matters.
        """
        estimate, higher = self.estimate, metric.higher_is_better
        word = outcome(estimate, margin, higher, self.adjusted_p)
        # Non-inferiority: the worse end of the interval is within the margin.
        not_worse = estimate.low > -margin if higher else estimate.high < margin
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
            more_items=items_to_settle(estimate, margin) if word == "within noise" else None,
            seed_share=estimate.seed_share,
        )

    def swapped(self) -> ComparedPair:
        """The comparison of the second trial with the first."""
        estimate = self.estimate
        swapped = replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)
        return replace(self, estimate=swapped)


@dataclass(frozen=True)
class ComparedPairs:
    """Compared pairs of trials, by (first, second) trial number."""

    by_numbers: Mapping[tuple[int, int], ComparedPair]

    def of(self, first: TrialFiles, second: TrialFiles) -> ComparedPair | None:
        """The comparison of ``first`` with ``second``, in this order."""
        number, other = first.config.number, second.config.number
        if (number, other) in self.by_numbers:
            return self.by_numbers[number, other]
        reverse = self.by_numbers.get((other, number))
        return reverse.swapped() if reverse else None


def compare_pairs(*questions: Sequence[Pair]) -> ComparedPairs:
    """Compare the pairs of several questions; a repeated pair belongs to its first question."""
    compared: dict[tuple[int, int], ComparedPair] = {}
    for pairs in questions:
        scores_by_pair: dict[tuple[int, int], tuple[Scores, Scores]] = {}
        for first, second in pairs:
            numbers = first.config.number, second.config.number
            is_known = {numbers, numbers[::-1]} & {*compared, *scores_by_pair}
            if not is_known and (scores := paired_scores(first, second)):
                scores_by_pair[numbers] = scores
        results = compare(scores_by_pair)
        if len(scores_by_pair) == 1:
            results = {key: replace(pair, adjusted_p=None) for key, pair in results.items()}
        compared |= results
    return ComparedPairs(compared)


def compare(
    pairs: Mapping[K, tuple[Scores, Scores]], further_p_values: Sequence[float] = ()
) -> dict[K, ComparedPair]:
    """The difference first minus second of each pair, with Holm's correction over all pairs.

    Args:
        further_p_values: p values of other comparisons that answer the same question.
    """
    estimates = [paired_difference(first, second) for first, second in pairs.values()]
    p_values = [*(estimate.p for estimate in estimates), *further_p_values]
    compared = zip(pairs, estimates, holm(p_values)[: len(estimates)], strict=True)
    return {key: ComparedPair(estimate, p, len(p_values)) for key, estimate, p in compared}


def paired_scores(first: TrialFiles, second: TrialFiles) -> tuple[Scores, Scores] | None:
    """Costs of both trials on the same items, over all trainings; None without such items."""
    own, other = validation_costs(first), validation_costs(second)
    if own is None or other is None or own.items.shape[1] != other.items.shape[1]:
        return None
    return own, other
