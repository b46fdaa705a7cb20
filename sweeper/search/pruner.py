"""Decides which running trial stops early, with a reason as text.

Multi-fidelity and asynchronous: it decides when a trial reports, against whatever other trials
of its start have shown at the same rung, of its strategy where enough have ended.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy import special

from sweeper.hyperparameters import CLASS_WEIGHT, CLASS_WEIGHT_POWERS
from sweeper.objective import LOSS, Objective
from sweeper.plans import Space
from sweeper.search.cost_model.observations import START, Observation, best_so_far, lowest_final
from sweeper.spec import Scalar
from sweeper.trials import FirstItems

# A trial goes on while the best loss lies within this many standard deviations of where it is
# expected to end. In replays of 300 recorded trials of 24 intents (benchmarks/search) 1.5 and two
# peers ended 6.9% above the best after 20 budgets, 2 and three peers 2.9%, no pruning 2.2%; on four
# other tasks the three could not be told apart.
CONFIDENCE = 2.0
# While fewer trials of a strategy and start have ended, those of all strategies count. Strategies
# gain alike from the same start: their means differ by less than the trials of one strategy do.
# Their interval is Student's, as few are a doubtful measure. Fewer than three of all strategies are
# none: with two, the best of a task was stopped in replays.
FEWEST_PEERS = 3
# More than these, the most recent ones, tell no more.
MOST_PEERS = 64
# A trial that is expected to end as others did is kept, within this share of the doubt.
AS_USUAL = 0.25
# A loss that doubled and rose by a nat over the trial's own best does not come back. Where classes
# are told apart and the best was no guess, that is overfitting: the trial ends with its best rung.
RISE_FACTOR, RISE_NATS = 2.0, 1.0
# The lowest that recorded trials of any strategy ended at, as a share of their lowest loss so far,
# after each eighth of their budget: first those whose head began at random, then all others. Of the
# trials that ended within 1.3 of the best of their task, one in twenty of a task ended lower.
# Computed by `python -m benchmarks.search.remaining_gain`.
REMAINING_GAIN_RANDOM_HEAD: tuple[float, ...] = (0.07, 0.16, 0.29, 0.38, 0.57, 0.57, 0.74)
REMAINING_GAIN: tuple[float, ...] = (0.43, 0.43, 0.60, 0.65, 0.66, 0.66, 0.88)

# Before trials have ended: how much the logs of (final loss / loss at a rung) differ between trials
# of one strategy and start. Falls to 0 with the rest of the budget.
# Fitted (Student's t, tasks and groups alike) to recorded trials of five tasks in 18 such groups
# that ended within twice the best of theirs: those of benchmarks/search.
DOUBT_OF_LEFT = 0.12
# As many trials as this belief is worth.
PRIOR_TRIALS = 3.0


@dataclass(frozen=True)
class PruningDecision:
    """Whether to stop a trial, and why in words."""

    prune: bool
    because: str = ""


GO_ON = PruningDecision(False)


def rung_title(objective: Objective) -> str:
    """What is reported at rungs."""
    return objective.title if objective.at_rungs else LOSS.title


def shown(cost: float, objective: Objective) -> str:
    """A cost at a rung as the value that people know."""
    return f"{objective.value(cost) if objective.at_rungs else cost:.4g}"


class SweeperPruner:
    """Stops trials that are not expected to reach the best of their strategy.

    Trials are extrapolated as others of their strategy and start went on from the same rung, or
    those of any strategy while fewer than three of theirs have ended.

    Args:
        space: Rungs and the earliest one that may prune.
        first_rung: In place of the space's.
    """

    def __init__(self, space: Space, first_rung: int | None = None) -> None:
        self._objective = space.objective
        self._first = space.budget.first_rung if first_rung is None else first_rung
        self._classes = space.facts is not None and space.facts.task == "classification"
        self._guessing_losses: dict[str, float] = {
            weight: guessing_loss(space, power) for weight, power in CLASS_WEIGHT_POWERS.items()
        }
        self._weight = _defaults(space, CLASS_WEIGHT)
        self._start = _defaults(space, START)
        self._model = {key: candidate.model for key, candidate in space.keyed.items()}
        # What starts from an untrained head, or from class names that the model never wrote, may
        # still fall far. Without facts nobody knows.
        self._falls_far = space.facts is None or space.facts.classes_by == "generate"

    def _guessing(self, own: Observation) -> float:
        """The loss of a trial that has only learnt the class weights."""
        weight = own.parameters.get(CLASS_WEIGHT, self._weight.get(own.key, "none"))
        return self._guessing_losses.get(str(weight), math.inf)

    def _remaining_gain(self, own: Observation, rung: int) -> float:
        """The least share of the loss so far at which a good trial may still end."""
        start = own.parameters.get(START, self._start.get(own.key))
        random = self._falls_far or start == "random"
        gains = REMAINING_GAIN_RANDOM_HEAD if random else REMAINING_GAIN
        eighth = math.floor(8 * rung / own.rungs)
        return gains[eighth - 1] if eighth else 0.0

    def decide(self, own: Observation, trials: Sequence[Observation]) -> PruningDecision:
        """The decision at a trial's last report.

        Args:
            trials: All trials, this one among them, in costs of what is reported at rungs.
        """
        rung = max(own.reported, default=own.rungs)
        if rung >= own.rungs:
            return GO_ON
        searched = rung >= self._first and own.origin == "search"
        guessing = self._guessing(own)
        lowest = min(best_so_far(own.losses).values(), default=math.inf)
        overfits = self._classes and lowest < guessing < math.inf
        diverging = _diverging(own.losses, rung, guessing, searched, overfits)
        if diverging.prune or not searched or not own.has(rung):
            return diverging  # defaults and the user's own are what others are measured by
        others = [trial for trial in trials if trial.number != own.number]
        strategy = [trial for trial in others if trial.key == own.key]

        def alike(trial: Observation) -> bool:
            same = (self._model[trial.key], trial.rungs, trial.group[1])
            same_as = (self._model[own.key], own.rungs, own.group[1])
            return same == same_as and trial.has(rung)

        peers = _last(strategy, alike)
        if sum(trial.complete for trial in peers) < FEWEST_PEERS:
            peers = _last(others, alike)
        gain = self._remaining_gain(own, rung)
        return View(own, rung, strategy, peers, trials, gain, self._objective).decide()


def _defaults(space: Space, name: str) -> dict[str, Scalar]:
    """The default of a parameter in each candidate that has it."""
    return {
        key: candidate.parameters[name].default
        for key, candidate in space.keyed.items()
        if name in candidate.parameters
    }


def _last(trials: Sequence[Observation], holds: Callable[[Observation], bool]) -> list[Observation]:
    return list(islice(filter(holds, reversed(trials)), MOST_PEERS))[::-1]


def guessing_loss(space: Space, power: float = 0.0) -> float:
    """The loss of guessing: by class frequencies, or with all tokens equally likely.

    Infinite where it is not known, as without facts.

    Args:
        power: Power of the trial's class weights. A model that has only learnt these weights
            predicts rare classes too often, and its loss is higher than that of the frequencies.
    """
    facts = space.facts
    if facts is None:
        return math.inf
    if facts.task != "classification":
        if len(facts.models) > 1:
            return math.inf  # counted in bytes, of which a token may have any number
        return math.log(max(model.vocabulary_size for model in facts.models))
    if facts.classes_by == "generate":
        # An untrained model is sure of wrong names. Measured: SmolLM2 on 7 intents begins at 4.19
        # nats and the class frequencies have 1.94.
        return math.inf
    rows = [label.rows for label in facts.data.labels if label.rows > 0]
    if len(rows) < 2:
        return math.inf
    total, learnt = sum(rows), [n ** (1 - power) for n in rows]
    return -sum(n / total * math.log(s / sum(learnt)) for n, s in zip(rows, learnt, strict=True))


def ends(peers: Iterable[Observation], rung: int) -> list[tuple[float, float]]:
    """Cost at a rung and final cost of each completed trial that has both.

    The lowest cost so far predicts the end less well where few items are scored at a rung. The
    peers are to be trials of one length: a shorter one ends with less training.
    """
    return [
        (peer.reported[rung], peer.cost)
        for peer in peers
        if peer.complete and peer.cost is not None and peer.has(rung)
    ]


@dataclass(frozen=True)
class Forecast:
    """The predicted final cost of a trial, as a log.

    Args:
        log_end: The mean.
        doubt: Standard deviation.
        usual: Where the trials that it was judged by ended, on average.
    """

    log_end: float
    doubt: float
    usual: float


def prior_doubt(left: float, luck: float) -> float:
    """The prior uncertainty of a predicted end, before other trials have ended.

    Args:
        left: Share of the budget that is left.
        luck: What the items at the rung add, as a standard deviation.

    Returns:
        A standard deviation of the log of the cost.
    """
    return math.hypot(DOUBT_OF_LEFT * left, luck)


def forecast(cost: float, pairs: Sequence[tuple[float, float]], prior: float) -> Forecast | None:
    """Extrapolate a cost by the mean gain of the trials that ended; None if none did.

    A straight line through their logs saved less in replays, and no cost was lower for it.

    Args:
        cost: At the rung.
        pairs: (cost at the rung, final cost) of completed trials.
        prior: Doubt before any have ended, as a standard deviation.
    """
    logs = [(math.log(early), math.log(end)) for early, end in pairs if early > 0 and end > 0]
    if not logs or cost <= 0:
        return None
    count = len(logs)
    rests = [end - early for early, end in logs]
    mean = statistics.fmean(rests)
    squares = sum((rest - mean) ** 2 for rest in rests)
    variance = (PRIOR_TRIALS * prior**2 + squares) / (PRIOR_TRIALS + count - 1)
    usual = statistics.fmean(end for _, end in logs)
    doubt = math.sqrt(variance * (1 + 1 / count))
    return Forecast(mean + math.log(cost), doubt, usual)


def luck(own: FirstItems | None, others: Sequence[FirstItems | None], easier: float) -> float:
    """How much other items could have changed the difference of two trials.

    A rung scores the first few validation items. Trials are scored on the same ones, so that an
    easy draw flatters all of them; what is left is that one trial finds them easier than another
    does, and that does not shrink as training goes on.

    Standard deviation of the log of a cost, as the mean over pairs of this trial with another; 0
    where nobody told of items, or where they are all that there are.

    Args:
        own: The trial's items at a rung.
        others: Those of other trials, at the same rung.
        easier: What the cost on all items is above that on these.
    """
    if own is None or len(own.each) < 2 or own.cost + easier <= 0:
        return 0.0
    same = [other for other in others if other is not None and other.count == own.count]
    same = [other for other in same if other.cost + easier > 0]
    if not same:
        return 0.0
    # Delta method: an item moves the log of a cost by its share of it. Half of what two differ by.
    levels = np.asarray([other.cost + easier for other in same])
    theirs = np.asarray([other.each for other in same]) / levels[:, None]
    apart = np.asarray(own.each) / (own.cost + easier) - theirs
    unseen = max(0.0, 1 - own.count / max(own.of, own.count))
    squares = apart.var(axis=1, ddof=1) / own.count * unseen / 2
    return math.sqrt(statistics.fmean(squares.tolist()))


def _diverging(
    losses: Mapping[int, float], rung: int, guessing: float, searched: bool, overfits: bool
) -> PruningDecision:
    loss = losses[rung]
    lowest = min((value for value in losses.values() if math.isfinite(value)), default=math.inf)
    if not math.isfinite(loss):
        return PruningDecision(True, f"it diverged: the validation loss at rung {rung} is {loss}")
    if not overfits and loss > max(RISE_FACTOR * lowest, lowest + RISE_NATS):
        text = f"it diverges: the validation loss rose from {lowest:.4g} to {loss:.4g}"
        return PruningDecision(True, f"{text} by rung {rung}")
    if lowest > RISE_FACTOR * guessing or (searched and lowest > guessing):
        text = f"the validation loss of {loss:.4g} at rung {rung} is worse than guessing"
        return PruningDecision(True, f"it diverges: {text} ({guessing:.4g})")
    return GO_ON


@dataclass(frozen=True)
class View:
    """One trial among the others.

    Args:
        rung: Where it stands.
        strategy: The other trials of its strategy.
        peers: Trials of its model, length and start that have a cost at this rung: those of its
            strategy, or of all strategies where too few of them have ended.
        others: The trials of all strategies.
        gain: The least share of its cost so far at which a good trial may still end.
        objective: What the costs are of.
    """

    own: Observation
    rung: int
    strategy: Sequence[Observation]
    peers: Sequence[Observation]
    others: Sequence[Observation]
    gain: float
    objective: Objective = LOSS

    @property
    def now(self) -> float:
        """The trial's cost at this rung."""
        return self.own.reported[self.rung]

    def decide(self) -> PruningDecision:
        """Whether it is expected to end above the best of its strategy, or far above the best."""
        best, best_of_all = lowest_final(self.strategy), lowest_final(self.others)
        if not 0 < best_of_all < math.inf:
            return GO_ON
        by_strategy = self._by_peers(best) if 0 < best < math.inf else None
        if self.objective.at_rungs and not self.objective.is_loss:
            return by_strategy or GO_ON  # the record is one of losses
        return by_strategy or self._by_record(best_of_all) or GO_ON

    def _by_record(self, best: float) -> PruningDecision | None:
        scored = _last(self.others, lambda trial: self.rung in trial.items)
        easier = self._easier(scored)
        luckier = CONFIDENCE * math.sqrt(2) * self._luck(scored, easier)
        reach = (self.own.curve[self.rung] + easier) * self.gain * math.exp(-luckier)
        if reach <= best:
            return None
        how = "if it improves as much as good trials of recorded sweeps did from here"
        return self._stopped(f"{how}, it would end at {self._shown(reach)}", best)

    def _by_peers(self, best: float) -> PruningDecision | None:
        easier = self._easier(self.peers)
        pairs = [(early + easier, end) for early, end in ends(self.peers, self.rung)]
        if len(pairs) < FEWEST_PEERS:
            return None
        prior = prior_doubt(1 - self.rung / self.own.rungs, self._luck(self.peers, easier))
        seen = forecast(self.now + easier, pairs, prior)
        if seen is None:
            return None
        reach = self._confidence(len(pairs)) * seen.doubt
        if seen.log_end - reach <= math.log(best):
            return GO_ON
        if seen.log_end <= seen.usual + AS_USUAL * seen.doubt:
            return GO_ON  # a new trial would promise no more, and begin at nothing
        low, high = (math.exp(seen.log_end + side * reach) for side in (-1, 1))
        better = sum(1 for peer in self.peers if peer.reported[self.rung] < self.now)
        text = f"worse than {better} of {len(self.peers)} {self._peers()}"
        ends_at = f"it would end between {self._shown(low)} and {self._shown(high)}"
        return self._stopped(f"{text}, {ends_at}", best)

    def _confidence(self, ended: int) -> float:
        """Half of the interval for the end, in standard deviations."""
        own = sum(peer.complete for peer in self.peers if peer.key == self.own.key)
        if own >= FEWEST_PEERS:
            return CONFIDENCE
        return float(special.stdtrit(PRIOR_TRIALS + ended - 1, special.ndtr(CONFIDENCE)))

    def _easier(self, others: Sequence[Observation]) -> float:
        """The cost on all items minus that on the rungs' items; 0 if unknown."""
        differences = [trial.easier for trial in others]
        return statistics.fmean([each for each in differences if each is not None] or [0.0])

    def _luck(self, others: Sequence[Observation], easier: float) -> float:
        theirs = [trial.items.get(self.rung) for trial in others]
        return luck(self.own.items.get(self.rung), theirs, easier)

    def _stopped(self, why: str, best: float) -> PruningDecision:
        where = f"stopped at rung {self.rung} of {self.own.rungs}"
        shown = f"{rung_title(self.objective)} {self._shown(self.now)}"
        so_far = f"the best so far is {self._shown(best)}"
        return PruningDecision(True, f"{where} with {shown}: {why}; {so_far}")

    def _shown(self, cost: float) -> str:
        return shown(cost, self.objective)

    def _peers(self) -> str:
        key, start = self.own.group
        own = {peer.key for peer in self.peers} == {key}
        trials = f"{key} trials" if own else "trials of all strategies"
        return trials if start is None else f"{trials} that start from {start}"
