"""One candidate's trials: the best, the searched range, and the data of loss models.

Pure; the same trials say the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sweeper.search.loss_model.axes import Axes, Axis, Range, Rows
from sweeper.search.loss_model.gaussian_process import Matrix, Vector, clipped
from sweeper.search.loss_model.learning_curves import ends
from sweeper.search.loss_model.observations import START, Observation
from sweeper.search.loss_model.untrained import ORIGIN as UNTRAINED
from sweeper.search.optuna_space import Full

INCUMBENTS = 3
# A model is told of so many trials at most, its own and others': what it costs grows with their
# square and more.
MOST_TOLD = 128

# The best trial is at an edge if it is within this share of the best-practice range's width. The
# report's share (10%, ``findings/evidence/parameters.py``) is one of the whole allowed range.
EDGE_SHARE = 0.25
# Fewer trials cannot show that the best one lies at the edge by more than chance.
FEWEST_TRIALS = 3


@dataclass(frozen=True)
class Told:
    """Trials and their losses, as input of a loss model."""

    trials: Sequence[Observation]
    losses: Vector

    def thinned(self, most: int) -> Told:
        """At most this many of them."""
        if len(self.trials) <= most:
            return self
        if most not in self._thinned:
            places = telling_places(self.trials, most)
            told = Told([self.trials[place] for place in places], self.losses[places])
            self._thinned[most] = told
        return self._thinned[most]

    @cached_property
    def _thinned(self) -> dict[int, Told]:
        return {}


@dataclass(frozen=True)
class Trials:
    """One candidate's trials, as input of its own and other candidates' loss models.

    Args:
        axes: Its searched parameters.
        seen: Its trials, and what is known of one that nobody ran.
        full: The study's full budget.
    """

    axes: Axes
    seen: Sequence[Observation]
    full: Full

    def tells(self, axes: Axes) -> bool:
        """Whether its losses inform about another candidate: both have a rate of the same name."""
        rates = (
            name for name, axis in self.axes.items() if isinstance(axis, Axis) and axis.is_rate
        )
        return bool(self.beside.trials) and any(isinstance(axes.get(one), Axis) for one in rates)

    @cached_property
    def ranges(self) -> dict[str, Range]:
        """The currently searched range of each numeric parameter."""
        return {
            name: searched_range(axis, self.seen)
            for name, axis in self.axes.items()
            if isinstance(axis, Axis)
        }

    @cached_property
    def incumbents(self) -> list[Observation]:
        """The best trials, best first.

        An untrained model is one of them until a trial went out from it: what is known then about
        moving from there is better than what is known about not moving.
        """
        ended = [one for one in self.seen if one.loss is not None]
        starts = {one.parameters.get(START) for one in ended if one.origin != UNTRAINED}
        candidates = [
            one
            for one in ended
            if one.origin != UNTRAINED or one.parameters.get(START) not in starts
        ]
        return heapq.nsmallest(INCUMBENTS, candidates, lambda one: one.rank)

    @cached_property
    def trained(self) -> int:
        """The number of trials that were trained and ended with a loss."""
        return sum(1 for one in self.seen if one.loss is not None and one.origin != UNTRAINED)

    @cached_property
    def few(self) -> list[Observation]:
        """All of them, or the most informative ones."""
        return thinned(self.seen, MOST_TOLD)

    @cached_property
    def own(self) -> Told:
        """The input of its own model."""
        return self._told([one for one in self.few if one.loss is not None or one.failed])

    @cached_property
    def beside(self) -> Told:
        """The input of other candidates' models."""
        ended = [one for one in self.few if one.loss is not None]
        return self._told([one for one in ended if one.origin != UNTRAINED])

    @cached_property
    def rows(self) -> Matrix:
        """The configurations of all of them, running ones too."""
        return Rows(self.axes).matrix([one.parameters for one in self.seen if one.parameters])

    @cached_property
    def ended(self) -> int:
        """The number of trials that ended with useful information."""
        return sum(1 for one in self.seen if one.loss is not None or one.failed)

    @cached_property
    def log_seconds(self) -> float:
        """Mean log of the seconds of a full trial; 0 if no trial was timed."""
        full = [
            one.seconds * self.full.rungs / max(one.curve)
            for one in self.few
            if one.seconds > 0 and one.curve and one.loss is not None
        ]
        return float(np.log(full).mean()) if full else 0.0

    def _told(self, ended: Sequence[Observation]) -> Told:
        losses = [None if one.loss is None else self._end(one) for one in ended]
        # A failed trial is as bad as the worst that ended.
        worst = max((loss for loss in losses if loss is not None), default=1.0)
        filled = np.asarray([worst if loss is None else loss for loss in losses])
        return Told(ended, clipped(filled) if ended else filled)

    def _end(self, one: Observation) -> float:
        # A pruned trial would have ended where the completed ones did that were as far along.
        assert one.loss is not None
        if one.complete or not one.curve:
            return one.loss
        rung = max(one.curve)
        if (one.rungs, rung) not in self._shares:
            alike = [other for other in self._complete if other.rungs == one.rungs]
            shares = [final / early for early, final in ends(alike, rung) if early > 0]
            self._shares[one.rungs, rung] = float(np.median(shares)) if shares else 1.0
        return one.loss * self._shares[one.rungs, rung]

    @cached_property
    def _complete(self) -> list[Observation]:
        return [one for one in self.seen if one.complete][-MOST_TOLD:]

    @cached_property
    def _shares(self) -> dict[tuple[int, int], float]:
        return {}


def searched_range(axis: Axis, seen: Sequence[Observation]) -> Range:
    """The range to draw from, within the allowed one.

    An edge moves by one width of the best-practice range beyond the best trial when that trial
    lies at the edge or past it, again and again; never past the middle between the best trial and
    one that failed on that side.

    Args:
        seen: Trials of one candidate.
    """
    low, high = axis.practice
    having = [one for one in seen if axis.name in one.parameters]
    ended = [one for one in having if one.loss is not None]
    if len(ended) < FEWEST_TRIALS:
        return low, high
    best = axis.unit(min(ended, key=lambda one: one.rank).parameters[axis.name])
    failed = [axis.unit(one.parameters[axis.name]) for one in having if one.failed]
    margin = EDGE_SHARE * axis.width
    if best >= high - margin:
        wall = min(((best + bad) / 2 for bad in failed if bad > best), default=1.0)
        high = max(high, min(best + axis.width, wall))
    if best <= low + margin:
        wall = max(((best + bad) / 2 for bad in failed if bad < best), default=0.0)
        low = min(low, max(best - axis.width, wall))
    return max(0.0, low), min(1.0, high)


def thinned(trials: Sequence[Observation], most: int) -> list[Observation]:
    """The most informative trials, in order: the best, the most recent, some of the rest."""
    return [trials[place] for place in telling_places(trials, most)]


def telling_places(trials: Sequence[Observation], most: int) -> list[int]:
    """The positions of the ``thinned`` trials."""
    if len(trials) <= most:
        return list(range(len(trials)))
    third = most // 3
    ranks, numbers = [one.rank for one in trials], [one.number for one in trials]
    best = heapq.nsmallest(third, range(len(trials)), ranks.__getitem__)
    by_number = sorted(range(len(trials)), key=numbers.__getitem__)
    kept = {*best, *by_number[len(trials) - third :]}
    rest = [place for place in by_number if place not in kept]
    evenly = np.linspace(0, len(rest) - 1, most - len(kept)).round().astype(int)
    return sorted(kept | {rest[place] for place in evenly})
