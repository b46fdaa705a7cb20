"""The budget of a trial: the cap on tokens, epochs, rungs, and the items scored at a rung."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from sweeper.data.long_rows import LongRow
from sweeper.facts.dataset.stated import assumed_lengths
from sweeper.facts.record import Facts, LengthFacts, ModelFacts
from sweeper.features import parts
from sweeper.hyperparameters import EPOCHS, PATIENCE
from sweeper.objective import limits_of
from sweeper.plans import Parameter, Prior
from sweeper.spec import Spec


@dataclass(frozen=True)
class Cap:
    """The longest text in tokens, its reason and its effect.

    Args:
        tokens: The cap.
        mean: Mean tokens of an item.
        longer: Text on the share of longer examples; empty if there are none.
        longest: Tokens of the longest example.
        many: Whether more than 1% of the examples are longer.
        becomes: What is done with longer examples.
        pieces: Mean number of items made from an example; below 1 if short texts share items.
    """

    tokens: int
    mean: float
    why: str
    longer: str
    longest: int
    many: bool
    becomes: LongRow
    pieces: float = 1.0

    def items(self, rows: int) -> int:
        """The number of items made from ``rows`` train examples."""
        return max(round(rows * self.pieces), 1)


# Lengths at which pieces are counted between two percentiles.
_LENGTHS_PER_INTERVAL = 20


def sequence_cap(spec: Spec, facts: Facts, model: ModelFacts) -> Cap:
    """The user's cap, else the length that 99% of the examples fit into, within the context."""
    context, asked = model.context_length, spec.training.max_length
    lengths = facts.data.lengths or assumed_lengths(facts.task, spec.data.assumed_length)
    tokens = lengths.cap(asked, context)
    if asked is not None:
        why = "as asked for"
    elif lengths.p99 > context:
        why = f"the model's context; 99% of the examples need {lengths.p99:,}"
    else:
        why = f"99% of the examples have at most {lengths.p99:,} tokens"
        why += f" ({lengths.measured_with})" if lengths.assumed else ""
    items = _items_per_text(lengths, tokens) if facts.splits_long_texts else 1.0
    return Cap(
        tokens=tokens,
        mean=lengths.mean / items if facts.splits_long_texts else min(lengths.mean, float(tokens)),
        why=why,
        longer=_longer(lengths, tokens),
        longest=lengths.longest,
        many=lengths.p99 > tokens,
        becomes=facts.long_rows,
        pieces=items,
    )


def _items_per_text(lengths: LengthFacts, tokens: int) -> float:
    """Mean number of items per text, if short texts share an item and long ones are divided.

    Items are full, except that two pieces longer than half an item do not share one. Lengths are
    assumed to be uniform between the measured percentiles.
    """
    ends = (1, lengths.p50, lengths.p90, lengths.p99, lengths.longest)
    shares = (0.5, 0.4, 0.09, 0.01)  # of the texts between two ends
    # ``round`` counts the pieces of a text longer than half an item; each needs its own item.
    long_pieces = sum(
        share
        * round((low + (high - low) * (step + 0.5) / _LENGTHS_PER_INTERVAL) / tokens)
        / _LENGTHS_PER_INTERVAL
        for share, (low, high) in zip(shares, pairwise(ends), strict=True)
        for step in range(_LENGTHS_PER_INTERVAL)
    )
    return max(long_pieces, lengths.mean / tokens)


def _longer(lengths: LengthFacts, tokens: int) -> str:
    """Text on the examples above the cap: their number if it was counted, otherwise a share."""
    counted = lengths.too_long
    if lengths.longest <= tokens:
        return ""
    if counted is not None and counted.cap == tokens:
        return f"{counted.rows:,} of {counted.of:,}"
    if lengths.p99 <= tokens:
        return "at most 1%"
    if lengths.p90 <= tokens:
        return "1% to 10%"
    return "10% to 50%" if lengths.p50 <= tokens else "more than half"


# Rungs of a full budget.
RUNGS = 8
# Share of a trial's time that is planned for evaluation. It took 11% to 15% of LoRA trials and 6%
# to 11% of full ones (MiniLM on a CPU, 2,179 rows).
EVALUATION_SHARE = 0.1
# Time of a scored token relative to a trained one, whose backward pass costs twice its forward pass
# (Kaplan et al. 2020, arXiv:2001.08361, section 2.1).
FORWARD_SHARE = 1 / 3
# Fewest items of a scored rung, if the validation split has as many.
MIN_RUNG_ITEMS = 50
# Rungs from one scored rung to the next. With 4, a trial is scored half-way and at its end.
SPACINGS = (1, 2, 4)
# Classes that are assumed without data.
TYPICAL_CLASSES = 2

# Fewest optimizer steps of a full budget, and the most epochs to reach them. On few rows, models
# need more updates than a few epochs give: published work on such sets trains up to 20 epochs
# (Mosbach et al. 2021, arXiv:2006.04884, section 6; Zhang et al. 2021, arXiv:2006.05987, section
# 6). A hundred updates are a choice of this project.
MIN_STEPS, MAX_EPOCHS = 100, 20

# The plan's reason for the choices of epochs.
_WHY_FEWER_EPOCHS = (
    "A trial may train for all epochs of the full budget or a part of them. If rows are seen more "
    "than once, a shorter trial with its own decay is often better, and costs less."
)


class ScoredRungs(NamedTuple):
    """The scored rungs of a trial before its last one, which scores all validation items.

    Args:
        every: Rungs from one scored rung to the next; divides ``RUNGS``.
        items: Validation items at each scored rung.
    """

    every: int
    items: int

    @property
    def before_last(self) -> int:
        """Number of scored rungs before the last one."""
        return RUNGS // self.every - 1


def scoring_tokens(spec: Spec, facts: Facts, cap: Cap) -> float:
    """Tokens that are read to score one item.

    With generated class names it is an upper bound, since their common prefixes are read once.
    """
    if facts.task != "classification" or spec.training.classes_by == "head":
        return cap.mean
    answer = facts.data.lengths.output_mean if facts.data.lengths else None
    return cap.mean + (len(facts.data.labels) or TYPICAL_CLASSES) * (answer or 1.0)


def scored_rungs(
    spec: Spec, facts: Facts, cap: Cap, validation_rows: int, epochs: float, train_rows: int
) -> ScoredRungs:
    """The scored rungs of a study's trials.

    Limits of features and early stopping bound how far apart they are.
    """
    widest = min((limit.every for limit in limits_of(spec)), default=SPACINGS[-1])
    if spec.training.early_stopping_patience is not None or spec.declares(PATIENCE):
        widest = SPACINGS[0]
    at_rung, at_end = feature_tokens(spec, cap.tokens)
    cost = scoring_tokens(spec, facts, cap) / cap.mean
    return affordable(
        EVALUATION_SHARE / FORWARD_SHARE * epochs * cap.items(train_rows),
        validation_rows,
        widest,
        cost=cost,
        at_rung=at_rung / cap.mean,
        at_end=validation_rows * cost + at_end / cap.mean,
    )


def affordable(
    passes: float,
    validation_rows: int,
    widest: int = SPACINGS[-1],
    *,
    cost: float = 1.0,
    at_rung: float = 0.0,
    at_end: float = 0.0,
) -> ScoredRungs:
    """The most scored rungs that are affordable, with enough items to compare trials.

    The smallest spacing is taken at which rungs of ``MIN_RUNG_ITEMS`` items are within the
    allowance. What the allowance leaves after scoring at the end is spent on more items.

    Args:
        passes: Allowance for evaluation, in forward passes over an item.
        widest: The largest spacing that may be chosen.
        cost: Forward passes to score one item.
        at_rung: Forward passes for features at each rung.
        at_end: Forward passes for everything that is scored at the end.

    >>> affordable(700.0, 1000), affordable(1200.0, 1000, at_end=500.0)
    (ScoredRungs(every=1, items=100), ScoredRungs(every=1, items=100))
    >>> affordable(90.0, 12), affordable(40.0, 12), affordable(10.0, 12)
    (ScoredRungs(every=1, items=12), ScoredRungs(every=2, items=12), ScoredRungs(every=4, items=12))
    """
    enough = min(MIN_RUNG_ITEMS, validation_rows)
    rung_passes = enough * cost + at_rung
    every = next(s for s in SPACINGS if s >= widest or (RUNGS // s - 1) * rung_passes <= passes)
    items = ((passes - at_end) / ScoredRungs(every, enough).before_last - at_rung) / cost
    return ScoredRungs(every, min(validation_rows, max(enough, math.floor(items))))


def feature_tokens(spec: Spec, cap: int) -> tuple[int, int]:
    """Tokens on which features score a trial: at each scored rung, and at its end."""
    scored = [tokens(spec, cap) for _, tokens in parts.SCORED_TOKENS.all()]
    return sum(at_rung for at_rung, _ in scored), sum(at_end for _, at_end in scored)


def epoch_choices(epochs: float) -> tuple[float, ...]:
    """Epochs that trials may have: the full budget; its half and its quarter if at least 1.

    Below two epochs, the first rung of the full budget that comes after at least one epoch replaces
    the half. All choices end at such rungs, so trials can be compared at the same rungs.

    >>> epoch_choices(4.0), epoch_choices(3.0), epoch_choices(1.6), epoch_choices(1.0)
    ((1.0, 2.0, 4.0), (1.5, 3.0), (1.0, 1.6), (1.0,))
    """
    shares = (0.25, max(0.5, math.ceil(RUNGS / epochs) / RUNGS))
    return (*(epochs * share for share in shares if epochs * share >= 1 > share), epochs)


def epochs_for_steps(epochs: float, batch: int, train_rows: int) -> float:
    """The epochs, or more if the least number of optimizer steps needs more.

    >>> epochs_for_steps(3.0, 16, 1400), epochs_for_steps(4.0, 8, 35), epochs_for_steps(4.0, 8, 100)
    (3.0, 20.0, 8.0)
    """
    return max(epochs, min(MIN_STEPS * batch / train_rows, float(MAX_EPOCHS)))


def with_epochs(
    parameters: dict[str, Parameter], epochs: float, spec: Spec
) -> dict[str, Parameter]:
    """The parameters, with the study's epochs in place of the strategy's range.

    Fewer epochs are searched too, unless the user set the number.
    """
    old = parameters.get(EPOCHS)
    if old is None:
        return parameters
    update: dict[str, object] = {"default": epochs, "low": min(old.low or epochs, epochs)}
    update["high"] = max(old.high or epochs, epochs)
    choices = epoch_choices(epochs)
    if spec.training.epochs is not None:
        update |= {"source": "the request", "why": "The requested number of epochs."}
    elif len(choices) > 1:
        update |= dict.fromkeys(("low", "high", "allowed_low", "allowed_high"))
        update |= {"kind": "categorical", "choices": choices, "allowed_choices": choices}
        weights = (1.0,) * len(choices)
        if epochs < 2:
            # With equal weights the expected share of epochs would jump where the second choice
            # appears. These make it fall from 1 at one epoch to 0.75 at two.
            mean, share = 1.25 - 0.25 * epochs, choices[0] / epochs
            weights = ((1 - mean) / (mean - share), 1.0)
        update |= {"prior": Prior(weights=weights), "searched": True, "why": _WHY_FEWER_EPOCHS}
    return parameters | {EPOCHS: old.model_copy(update=update)}
