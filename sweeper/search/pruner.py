"""Decides whether a running trial stops early, with a reason as text.

Each time a trial reports, it is compared with other trials of the same model and initialisation at
the same rung: those of its strategy if enough have completed, otherwise those of all strategies.
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
from sweeper.search.cost_model.trial_costs import START, TrialCosts, best_so_far, lowest_final
from sweeper.spec import Scalar
from sweeper.trials import FirstItems

# A trial goes on while the best loss is within this many standard deviations of its predicted final
# loss. In replays of the task `intents` (300 recorded trials, benchmarks/search), the best trial
# after training worth 20 full trials was above the best recorded one by 6.9% with 1.5 and two
# peers, by 2.9% with 2 and three peers, and by 2.2% without pruning. On four other tasks the three
# gave equally good results.
CONFIDENCE = 2.0
# Fewest completed peers for a prediction. If a strategy has fewer, peers of all strategies count:
# with the same initialisation, the mean gain from a rung to the end differs less between strategies
# than between trials. The interval is then Student's t. In replays with a minimum of two peers, the
# best trial of a task was stopped.
MIN_PEERS = 3
# Maximum number of peers, the most recent ones; more do not improve the prediction.
MAX_PEERS = 64
# A trial goes on if the predicted log of its final cost is at most this many standard deviations
# above its peers' mean.
USUAL_MARGIN = 0.25
# A loss that is above the trial's lowest by this factor and by this many nats does not recover. In
# classification, if the lowest was better than guessing, that is overfitting: the trial is not
# pruned and ends with its best rung.
RISE_FACTOR, RISE_NATS = 2.0, 1.0
# Smallest expected final loss, as a share of the lowest loss so far, after each eighth of the
# budget but the last: for heads that start at random, and for all others. In each recorded task, at
# most 5% of the trials that ended within 1.3 times its best loss improved more.
# Computed by `python -m benchmarks.search.pruning --remaining-gain`.
END_RATIOS_RANDOM_HEAD: tuple[float, ...] = (0.07, 0.16, 0.29, 0.38, 0.57, 0.57, 0.74)
END_RATIOS: tuple[float, ...] = (0.43, 0.43, 0.60, 0.65, 0.66, 0.66, 0.88)

# Prior standard deviation of log(final loss / loss at a rung) between trials of one strategy and
# initialisation, for a whole budget; proportional to the share of the budget that remains. Fitted
# (Student's t, equal weights of tasks and groups) to recorded trials of five tasks in 18 groups
# (task, strategy, initialisation) that ended within twice the best of their group.
PRIOR_STD = 0.12
# Weight of the prior standard deviation, in trials.
PRIOR_TRIALS = 3.0


@dataclass(frozen=True)
class PruningDecision:
    """Whether to stop a trial, and the reason as text."""

    prune: bool
    because: str = ""


NOT_PRUNED = PruningDecision(prune=False)


def rung_title(objective: Objective) -> str:
    """The title of the figure that is reported at rungs."""
    return objective.title if objective.at_rungs else LOSS.title


def value_text(cost: float, objective: Objective) -> str:
    """A cost at a rung, as text in the objective's own unit."""
    return f"{objective.value(cost) if objective.at_rungs else cost:.4g}"


class SweeperPruner:
    """Stops trials that are not expected to reach the best of their strategy.

    A trial's final cost is predicted from the gains of trials of its strategy and initialisation,
    or of all strategies while fewer than three of its own have completed.

    Args:
        first_rung: The earliest rung at which a trial may be stopped; the space's if None.
    """

    def __init__(self, space: Space, first_rung: int | None = None) -> None:
        self._objective = space.objective
        self._first_rung = space.budget.first_rung if first_rung is None else first_rung
        self._is_classification = space.facts is not None and space.facts.task == "classification"
        self._guessing_losses: dict[str, float] = {
            weight: guessing_loss(space, power) for weight, power in CLASS_WEIGHT_POWERS.items()
        }
        self._default_class_weights = _defaults(space, CLASS_WEIGHT)
        self._default_starts = _defaults(space, START)
        self._models = {key: candidate.model for key, candidate in space.keyed.items()}
        # The loss may still fall far if the model must first learn to generate the class names, or
        # if there are no facts.
        self._may_fall_far = space.facts is None or space.facts.classes_by == "generate"

    def _guessing_loss(self, own: TrialCosts) -> float:
        """The loss of a trial that has only learnt class frequencies and weights."""
        weight = own.parameters.get(CLASS_WEIGHT, self._default_class_weights.get(own.key, "none"))
        return self._guessing_losses.get(str(weight), math.inf)

    def _end_ratio(self, own: TrialCosts, rung: int) -> float:
        """The share of its lowest loss so far to which a good trial may still fall."""
        start = own.parameters.get(START, self._default_starts.get(own.key))
        random = self._may_fall_far or start == "random"
        ratios = END_RATIOS_RANDOM_HEAD if random else END_RATIOS
        eighths = math.floor(8 * rung / own.rungs)
        return ratios[eighths - 1] if eighths else 0.0

    def decide(self, own: TrialCosts, trials: Sequence[TrialCosts]) -> PruningDecision:
        """The decision after the latest report of a running trial.

        Args:
            own: The running trial.
            trials: All trials, including this one, with costs of the figure reported at rungs.
        """
        rung = max(own.reported, default=own.rungs)
        if rung >= own.rungs:
            return NOT_PRUNED
        prunable = rung >= self._first_rung and own.searched
        guessing = self._guessing_loss(own)
        lowest = min(best_so_far(own.losses).values(), default=math.inf)
        overfits = self._is_classification and lowest < guessing < math.inf
        diverging = _diverging(own.losses, rung, guessing, prunable, overfits)
        if diverging.prune or not prunable or not own.has(rung):
            return diverging  # defaults and the user's trials are references, not pruned
        others = [trial for trial in trials if trial.number != own.number]
        same_candidate = [trial for trial in others if trial.key == own.key]

        def comparable(trial: TrialCosts) -> bool:
            trial_group = (self._models[trial.key], trial.rungs, trial.start)
            own_group = (self._models[own.key], own.rungs, own.start)
            return trial_group == own_group and trial.has(rung)

        peers = _most_recent(same_candidate, comparable)
        if sum(trial.complete for trial in peers) < MIN_PEERS:
            peers = _most_recent(others, comparable)
        ratio = self._end_ratio(own, rung)
        return PeerComparison(
            own, rung, same_candidate, peers, trials, ratio, self._objective
        ).decide()


def _defaults(space: Space, name: str) -> dict[str, Scalar]:
    """The default of a parameter in each candidate that has it."""
    return {
        key: candidate.parameters[name].default
        for key, candidate in space.keyed.items()
        if name in candidate.parameters
    }


def _most_recent(
    trials: Sequence[TrialCosts], is_included: Callable[[TrialCosts], bool]
) -> list[TrialCosts]:
    return list(islice(filter(is_included, reversed(trials)), MAX_PEERS))[::-1]


def guessing_loss(space: Space, power: float = 0.0) -> float:
    """The loss of guessing: by class frequencies, or with equally likely tokens.

    Infinite if unknown, as without facts.

    Args:
        power: Power of the trial's class weights. A model that has only learnt these weights
            predicts rare classes too often, so its loss is higher than by class frequencies.
    """
    facts = space.facts
    if facts is None:
        return math.inf
    if facts.task != "classification":
        if len(facts.models) > 1:
            return math.inf  # the loss is per byte, and tokens have any number of bytes
        return math.log(max(model.vocabulary_size for model in facts.models))
    if facts.classes_by == "generate":
        # An untrained model is confident in wrong names. Measured: SmolLM2 on 7 intents begins at
        # 4.19 nats and the class frequencies have 1.94.
        return math.inf
    rows = [label.rows for label in facts.data.labels if label.rows > 0]
    if len(rows) < 2:
        return math.inf
    total, learnt = sum(rows), [n ** (1 - power) for n in rows]
    return -sum(n / total * math.log(s / sum(learnt)) for n, s in zip(rows, learnt, strict=True))


def final_costs(peers: Iterable[TrialCosts], rung: int) -> list[tuple[float, float]]:
    """The cost at a rung and the final cost of each completed trial that has both.

    Where rungs score few items, the lowest cost so far would predict the final cost less well.

    Args:
        peers: Trials with the same number of rungs: a shorter trial ends with less training.
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
        log_end: Mean of the log of the final cost.
        std: Its standard deviation.
        usual: Mean log of the peers' final costs.
    """

    log_end: float
    std: float
    usual: float


def prior_std(remaining: float, item_std: float) -> float:
    """The prior uncertainty of a predicted final cost.

    Args:
        remaining: Share of the budget that remains.
        item_std: Standard deviation due to the choice of items at the rung.

    Returns:
        A standard deviation of the log of the cost.
    """
    return math.hypot(PRIOR_STD * remaining, item_std)


def forecast(cost: float, pairs: Sequence[tuple[float, float]], prior: float) -> Forecast | None:
    """Extrapolate a cost by the mean gain of completed trials; None if there are none.

    The gain is the log of the final cost minus the log of the cost at the rung. In replays, a
    straight line through these logs saved less training and found no better trials.

    Args:
        cost: Cost at the rung.
        pairs: (cost at the rung, final cost) of completed trials.
        prior: Prior standard deviation of the gain.
    """
    logs = [(math.log(early), math.log(end)) for early, end in pairs if early > 0 and end > 0]
    if not logs or cost <= 0:
        return None
    count = len(logs)
    gains = [end - early for early, end in logs]
    mean = statistics.fmean(gains)
    squares = sum((gain - mean) ** 2 for gain in gains)
    variance = (PRIOR_TRIALS * prior**2 + squares) / (PRIOR_TRIALS + count - 1)
    peer_mean = statistics.fmean(end for _, end in logs)
    std = math.sqrt(variance * (1 + 1 / count))
    return Forecast(mean + math.log(cost), std, peer_mean)


def item_std(
    own: FirstItems | None, others: Sequence[FirstItems | None], subset_bias: float
) -> float:
    """The uncertainty of the difference of two trials that is due to the choice of items.

    A rung scores the first few validation items, the same for all trials. These may be easier for
    one trial than for another, which does not change as training goes on.

    Args:
        own: The trial's items at a rung.
        others: Items of other trials at the same rung.
        subset_bias: The cost on all items minus the cost on the rung's items.

    Returns:
        Standard deviation of the log of a cost, as the mean over pairs of this trial with another;
        0 if no items were reported, or all items are scored.
    """
    if own is None or len(own.each) < 2 or own.cost + subset_bias <= 0:
        return 0.0
    comparable = [other for other in others if other is not None and other.count == own.count]
    comparable = [other for other in comparable if other.cost + subset_bias > 0]  # has a log
    if not comparable:
        return 0.0
    # Delta method: an item changes the log of a cost by its share. Each of the two trials has half
    # the variance of their difference.
    costs = np.asarray([other.cost + subset_bias for other in comparable])
    other_shares = np.asarray([other.each for other in comparable]) / costs[:, None]
    differences = np.asarray(own.each) / (own.cost + subset_bias) - other_shares
    unscored_share = max(0.0, 1 - own.count / max(own.of, own.count))
    squares = differences.var(axis=1, ddof=1) / own.count * unscored_share / 2
    return math.sqrt(statistics.fmean(squares.tolist()))


def _diverging(
    losses: Mapping[int, float], rung: int, guessing: float, prunable: bool, overfits: bool
) -> PruningDecision:
    """Prune a trial whose loss is not finite, rises far, or is worse than guessing."""
    loss = losses[rung]
    lowest = min((value for value in losses.values() if math.isfinite(value)), default=math.inf)
    if not math.isfinite(loss):
        return PruningDecision(
            prune=True, because=f"it diverged: the validation loss at rung {rung} is {loss}"
        )
    if not overfits and loss > max(RISE_FACTOR * lowest, lowest + RISE_NATS):
        text = f"it diverges: the validation loss rose from {lowest:.4g} to {loss:.4g}"
        return PruningDecision(prune=True, because=f"{text} by rung {rung}")
    if lowest > RISE_FACTOR * guessing or (prunable and lowest > guessing):
        text = f"the validation loss of {loss:.4g} at rung {rung} is worse than guessing"
        return PruningDecision(prune=True, because=f"it diverges: {text} ({guessing:.4g})")
    return NOT_PRUNED


@dataclass(frozen=True)
class PeerComparison:
    """A running trial and the trials with which it is compared.

    Args:
        own: The running trial.
        rung: Its current rung.
        same_candidate: The other trials of its candidate.
        peers: Trials with its model, number of rungs and initialisation that have a cost at this
            rung: those of its candidate, or of all strategies if too few of them have completed.
        trials: All trials, including this one.
        end_ratio: The share of its lowest loss so far to which a good trial may still fall.
        objective: The objective of the costs.
    """

    own: TrialCosts
    rung: int
    same_candidate: Sequence[TrialCosts]
    peers: Sequence[TrialCosts]
    trials: Sequence[TrialCosts]
    end_ratio: float
    objective: Objective = LOSS

    @property
    def cost(self) -> float:
        """The trial's cost at this rung."""
        return self.own.reported[self.rung]

    def decide(self) -> PruningDecision:
        """Prune the trial if it is predicted to end above the best of its candidate, or far above
        the best of all."""
        best, best_of_all = lowest_final(self.same_candidate), lowest_final(self.trials)
        if not 0 < best_of_all < math.inf:
            return NOT_PRUNED
        by_peers = self._by_peers(best) if 0 < best < math.inf else None
        if self.objective.at_rungs and not self.objective.is_loss:
            return by_peers or NOT_PRUNED  # recorded gains are those of losses
        return by_peers or self._by_recorded_gains(best_of_all) or NOT_PRUNED

    def _by_recorded_gains(self, best: float) -> PruningDecision | None:
        """Prune the trial if even the largest recorded gains would leave it above the best."""
        scored = _most_recent(self.trials, lambda trial: self.rung in trial.items)
        subset_bias = self._subset_bias(scored)
        # The difference of two trials has twice the variance of one.
        item_margin = CONFIDENCE * math.sqrt(2) * self._item_std(scored, subset_bias)
        lowest_so_far = self.own.curve[self.rung] + subset_bias
        lowest_end = lowest_so_far * self.end_ratio * math.exp(-item_margin)
        if lowest_end <= best:
            return None
        assumption = "if it improves as much as good trials of recorded sweeps did from here"
        return self._prune(f"{assumption}, it would end at {self._text(lowest_end)}", best)

    def _by_peers(self, best: float) -> PruningDecision | None:
        """The decision by the gains of its peers; None if too few have completed."""
        subset_bias = self._subset_bias(self.peers)
        pairs = [(early + subset_bias, end) for early, end in final_costs(self.peers, self.rung)]
        if len(pairs) < MIN_PEERS:
            return None
        prior = prior_std(1 - self.rung / self.own.rungs, self._item_std(self.peers, subset_bias))
        prediction = forecast(self.cost + subset_bias, pairs, prior)
        if prediction is None:
            return None
        half_width = self._confidence(len(pairs)) * prediction.std
        if prediction.log_end - half_width <= math.log(best):
            return NOT_PRUNED
        if prediction.log_end <= prediction.usual + USUAL_MARGIN * prediction.std:
            return NOT_PRUNED  # a new trial would not be predicted to end lower
        low, high = (math.exp(prediction.log_end + side * half_width) for side in (-1, 1))
        better = sum(1 for peer in self.peers if peer.reported[self.rung] < self.cost)
        text = f"worse than {better} of {len(self.peers)} {self._peers_text()}"
        ends_at = f"it would end between {self._text(low)} and {self._text(high)}"
        return self._prune(f"{text}, {ends_at}", best)

    def _confidence(self, completed: int) -> float:
        """Half the width of the interval of the final cost, in standard deviations."""
        own_completed = sum(peer.complete for peer in self.peers if peer.key == self.own.key)
        if own_completed >= MIN_PEERS:
            return CONFIDENCE
        return float(special.stdtrit(PRIOR_TRIALS + completed - 1, special.ndtr(CONFIDENCE)))

    def _subset_bias(self, others: Sequence[TrialCosts]) -> float:
        """Mean cost on all items minus the cost on the rungs' items; 0 if unknown."""
        differences = [trial.subset_bias for trial in others]
        return statistics.fmean([each for each in differences if each is not None] or [0.0])

    def _item_std(self, others: Sequence[TrialCosts], subset_bias: float) -> float:
        other_items = [trial.items.get(self.rung) for trial in others]
        return item_std(self.own.items.get(self.rung), other_items, subset_bias)

    def _prune(self, why: str, best: float) -> PruningDecision:
        where = f"stopped at rung {self.rung} of {self.own.rungs}"
        figure = f"{rung_title(self.objective)} {self._text(self.cost)}"
        so_far = f"the best so far is {self._text(best)}"
        return PruningDecision(prune=True, because=f"{where} with {figure}: {why}; {so_far}")

    def _text(self, cost: float) -> str:
        return value_text(cost, self.objective)

    def _peers_text(self) -> str:
        own, start = self.own.key, self.own.start
        one_candidate = {peer.key for peer in self.peers} == {own}
        trials = f"{own} trials" if one_candidate else "trials of all strategies"
        return trials if start is None else f"{trials} that start from {start}"
