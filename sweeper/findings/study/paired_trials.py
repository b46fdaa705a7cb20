"""Comparisons of two trials on the same validation items, each made once.

The sections on the search and on parameters often speak of the same two trials. Each pair is
compared over all of its trainings, and Holm's correction is taken over the pairs of one question,
so that every section says the same of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sweeper.evaluation.significance import (
    CONFIDENCE,
    Estimate,
    Scores,
    holm,
    lacking,
    outcome,
    paired_difference,
)
from sweeper.findings.figures import Outcome
from sweeper.findings.study.item_scores import interval, validation_losses
from sweeper.findings.study.reading import TrialFiles

Pair = tuple[TrialFiles, TrialFiles]


@dataclass(frozen=True)
class ComparedPair:
    """The validation loss of one trial minus that of another, among ``comparisons`` of a question.

    ``adjusted_p`` is Holm's; None where the question was put to one pair only.
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
        estimates: dict[tuple[int, int], Estimate] = {}
        for first, second in pairs:
            names = first.config.number, second.config.number
            done = {*compared, *estimates}
            scores = None if {names, names[::-1]} & done else paired_scores(first, second)
            if scores is not None:
                estimates[names] = paired_difference(*scores)
        count = len(estimates)
        adjusted = holm([estimate.p for estimate in estimates.values()])
        for (names, estimate), p in zip(estimates.items(), adjusted, strict=True):
            compared[names] = ComparedPair(estimate, p if count > 1 else None, count)
    return ComparedPairs(compared)


def paired_scores(first: TrialFiles, second: TrialFiles) -> tuple[Scores, Scores] | None:
    """Losses of both on the same items, over all trainings; None where they were not kept."""
    own, other = validation_losses(first), validation_losses(second)
    if own is None or other is None or own.items.shape[1] != other.items.shape[1]:
        return None
    return own, other
