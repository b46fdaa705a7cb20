"""Decides which running trial may stop early, and says why in words.

Multi-fidelity and asynchronous: a trial is judged when it reports, against whatever other trials
of its strategy and start have shown at the same rung. Reads the study; knows no storage or files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from sweeper.planning.plan import Plan
from sweeper.search.curves import ends, foretelling, jitter
from sweeper.search.observations import Observation, observation, observe

# The better half goes on at the first rung and at each doubling of it: halving from a quarter,
# within strategy and start, found the best configuration at half the cost in replays of recorded
# runs, and was never worse than no pruning by much where curves cross.
KEPT_SHARE = 0.5
# The first trials of a strategy and start to reach the first rung pass it: one bad draw is not
# the end of a strategy. By the next halving they have had twice the budget to show themselves.
QUOTA = 2
# A loss that doubled and rose by a nat over the trial's own best does not come back.
RISE_FACTOR, RISE_NATS = 2.0, 1.0
# The largest improvement seen so far stands for the largest possible with this many trials.
FEWEST_IMPROVEMENTS = 2


@dataclass(frozen=True)
class Judgement:
    """Whether to stop a trial, and why in words."""

    prune: bool
    because: str = ""


GO_ON = Judgement(False)


def judge(study: optuna.Study, trial: FrozenTrial) -> Judgement:
    """Ask the study's pruner, whoever made it, with a reason in words.

    Args:
        study: With its pruner set.
        trial: The running trial with the losses that it reported, by rung.
    """
    pruner = study.pruner
    if isinstance(pruner, SweeperPruner):
        return pruner.judge(study, trial)
    if not pruner.prune(study, trial):
        return GO_ON
    rung = max(trial.intermediate_values)
    loss = trial.intermediate_values[rung]
    name = type(pruner).__name__
    return Judgement(True, f"{name} stopped it at rung {rung} with validation loss {loss:.4g}")


class SweeperPruner(BasePruner):
    """Halving within strategy and start, with a quota, and patience where noise decides.

    Args:
        plan: The frozen plan: rungs and the earliest one that may prune.
    """

    def __init__(self, plan: Plan) -> None:
        self._rungs = plan.budget.rungs
        self._first = plan.budget.first_rung
        self._chance = chance(plan)
        self._halvings = halving_rungs(self._first, self._rungs)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return self.judge(study, trial).prune

    def judge(self, study: optuna.Study, trial: FrozenTrial) -> Judgement:
        """The decision at the trial's last report."""
        if not trial.intermediate_values:
            return GO_ON
        rung = max(trial.intermediate_values)
        if rung >= self._rungs:
            return GO_ON
        own = observation(trial)
        searched = rung >= self._first and own.origin == "search"
        diverging = _diverging(trial.intermediate_values, rung, self._chance, searched)
        if diverging.prune or not searched or rung not in own.curve:
            return diverging  # defaults and the user's own are what others are measured by
        others = observe(study.get_trials(deepcopy=False))
        strategy = [one for one in others if one.key == own.key and one.number != own.number]
        peers = [one for one in strategy if one.group == own.group and rung in one.curve]
        noise = jitter([*others, own], self._rungs)
        view = View(own, rung, self._first, self._rungs, strategy, peers, noise)
        if rung in self._halvings:
            halved = view.halve()
            if halved.prune:
                return halved
        return view.out_of_reach()


def halving_rungs(first: int, rungs: int) -> frozenset[int]:
    """The first rung and its doublings, below the last.

    >>> sorted(halving_rungs(2, 8))
    [2, 4]
    """
    found = set()
    rung = first
    while rung < rungs:
        found.add(rung)
        rung *= 2
    return frozenset(found)


def chance(plan: Plan) -> float:
    """The loss of knowing nothing: of the class frequencies, or of any token being as likely.

    Infinite where the plan does not know.
    """
    if plan.facts.task != "classification":
        return math.log(max(model.vocabulary_size for model in plan.facts.models))
    rows = [label.rows for label in plan.facts.data.labels if label.rows > 0]
    total = sum(rows)
    return -sum(n / total * math.log(n / total) for n in rows) if len(rows) > 1 else math.inf


def _gains(trials: Sequence[Observation], rung: int) -> list[float]:
    return [final / early for early, final in ends(trials, rung) if early > 0]


def _diverging(losses: dict[int, float], rung: int, chance: float, searched: bool) -> Judgement:
    loss = losses[rung]
    lowest = min((value for value in losses.values() if math.isfinite(value)), default=math.inf)
    if not math.isfinite(loss):
        return Judgement(True, f"it diverged: the validation loss at rung {rung} is {loss}")
    if loss > max(RISE_FACTOR * lowest, lowest + RISE_NATS):
        text = f"it diverges: the validation loss rose from {lowest:.4g} to {loss:.4g}"
        return Judgement(True, f"{text} by rung {rung}")
    if lowest > RISE_FACTOR * chance or (searched and lowest > chance):
        text = f"the validation loss of {loss:.4g} at rung {rung} is worse than guessing"
        return Judgement(True, f"it diverges: {text} ({chance:.4g})")
    return GO_ON


@dataclass(frozen=True)
class View:
    """One trial among the others of its strategy.

    Args:
        own: The trial.
        rung: Where it stands.
        first: The earliest rung that may prune.
        rungs: How many there are.
        strategy: The other trials of its strategy.
        peers: Those of its start too that have a loss at this rung.
        noise: Standard deviation of one rung's loss.
    """

    own: Observation
    rung: int
    first: int
    rungs: int
    strategy: Sequence[Observation]
    peers: Sequence[Observation]
    noise: float

    @property
    def loss(self) -> float:
        """The trial's best loss so far."""
        return self.own.curve[self.rung]

    def halve(self) -> Judgement:
        """Whether it is behind the better half of its peers by more than noise explains."""
        losses = sorted([self.loss, *(peer.curve[self.rung] for peer in self.peers)])
        quota = QUOTA if self.rung == self.first else 1
        kept = max(quota, math.ceil(KEPT_SHARE * len(losses)))
        if len(losses) <= kept:
            return GO_ON
        cutoff = losses[kept - 1]
        slack = self._slack()
        if self.loss <= cutoff + slack:
            return GO_ON
        better = sum(1 for loss in losses if loss < self.loss)
        return Judgement(
            True,
            f"worse than {better} of {len(losses) - 1} {self._peers()} at rung {self.rung} of "
            f"{self.rungs}: validation loss {self.loss:.4g}, the better half had {cutoff:.4g} or "
            f"less (differences up to {slack:.2g} count as noise)",
        )

    def out_of_reach(self) -> Judgement:
        """Whether it would stay behind the best even if all went well from here."""
        bests = [one.loss for one in self.strategy if one.complete and one.loss is not None]
        reach, how = self._by_peers() or self._by_trend() or (-math.inf, "")
        if not bests or reach <= min(bests) + self._slack():
            return GO_ON
        return Judgement(
            True,
            f"out of reach at rung {self.rung} of {self.rungs}: with {how} its validation loss of "
            f"{self.loss:.4g} would end at {reach:.4g}, and {min(bests):.4g} was reached",
        )

    def _by_peers(self) -> tuple[float, str] | None:
        gains = _gains(self.peers, self.rung)
        if len(gains) < FEWEST_IMPROVEMENTS:
            return None
        how = f"the largest improvement that {self._peers()} showed from here"
        return self.loss * min(gains), how

    def _by_trend(self) -> tuple[float, str] | None:
        # Without peers from the second half on: curves of training flatten, so that what is left,
        # at most one more doubling, brings no more than the last one did. What all trials of the
        # strategy gain at their end, when the rate decays, is granted on top.
        gains = _gains(self.strategy, self.rung)
        before = self.own.curve.get(self.rung // 2)
        if 2 * self.rung < self.rungs or before is None or not gains:
            return None
        reach = (2 * self.loss - before) * min(1.0, *gains)
        return reach, "as much improvement again as since it stood at half of this"

    def _slack(self) -> float:
        # How much worse a trial may look here and yet be as good. The best of the rungs so far
        # scatters less than a single rung, and the difference of two such by about one rung's
        # noise; where enough trials ended, their ends say how far a difference here can be
        # trusted.
        line = foretelling(ends(self.peers, self.rung))
        line = line or foretelling(ends(self.strategy, self.rung))
        if line is None:
            return self.noise
        return max(self.noise, line.scatter / line.slope) if line.slope > 0.0 else math.inf

    def _peers(self) -> str:
        key, start = self.own.group
        return f"{key} trials" if start is None else f"{key} trials that start from {start}"
