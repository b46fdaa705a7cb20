"""What the study will use: the full budget, its rungs, and what the user's budget buys.

Knows the costs of candidates, not how trials are run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sweeper.errors import SpecError
from sweeper.facts.record import Facts
from sweeper.planning.plan import Budget, Candidate, Duration, Purchase
from sweeper.spec import SearchSpec, Spec

RUNGS = 8
# Replays of recorded runs at equal cost: halving from an eighth was ruinous where curves cross
# (distance to the best 0.364), from a quarter it beat no pruning (0.131 against 0.148).
EARLIEST_RUNG = 2
# Under this many optimizer steps a loss says more about the order of the data than about the
# configuration; the same bound as for the first rung in the design of the search.
STEPS_BEFORE_RUNG = 50
# Validation at rungs may cost a tenth of a trial; a trained token costs three forward ones
# (Kaplan et al. 2020, arXiv:2001.08361, section 2.1: backward is twice forward).
EVALUATION_SHARE = 0.1
FORWARD_SHARE = 1 / 3
FEWEST_RUNG_ITEMS = 50

# What share of a full budget a searched trial uses: all of them stopped at the first rung, halved
# from there on, or none stopped.
_AMOUNT = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(gpuh|usd|h)\s*$")
Unit = Literal["gpuh", "usd", "h"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A budget that the user set: GPU-hours, US dollars, or hours on the clock."""

    amount: float
    unit: Unit


def parse_limit(text: str | None) -> Limit | None:
    """Read ``8gpuh``, ``30usd`` or ``2h``.

    Raises:
        SpecError: It is none of these.

    >>> parse_limit("8gpuh")
    Limit(amount=8.0, unit='gpuh')
    """
    if text is None:
        return None
    match = _AMOUNT.match(text)
    if match is None or float(match.group(1)) <= 0:
        raise SpecError(
            f"budget = {text!r}",
            "A budget is an amount above 0 with its unit.",
            "Write 8gpuh (GPU-hours), 30usd (with a price per GPU-hour) or 2h (on the clock).",
            "aim.budget",
        )
    unit: Unit = match.group(2)  # type: ignore[assignment]
    return Limit(float(match.group(1)), unit)


def rung_items(validation_rows: int, train_rows: int, epochs: float) -> int:
    """Validation items at a rung below the last, so that evaluation stays within its share."""
    affordable = EVALUATION_SHARE / FORWARD_SHARE * epochs * train_rows - validation_rows
    items = max(math.floor(affordable / (RUNGS - 1)), FEWEST_RUNG_ITEMS)
    return min(items, validation_rows)


def first_rung(steps: int, warmup_ratio: float) -> int:
    """The earliest rung at which a trial may be pruned; ``RUNGS`` means never."""
    needed = max(STEPS_BEFORE_RUNG, math.ceil(warmup_ratio * steps))
    for rung in range(EARLIEST_RUNG, RUNGS):
        if rung * steps / RUNGS >= needed:
            return rung
    return RUNGS


def searched_shares(first: int) -> tuple[float, float, float]:
    """Share of a full budget that a searched trial uses: least, expected by halving, most.

    By halving, half of the trials end at the first rung, half of the rest at twice that rung, ...

    >>> searched_shares(2)
    (0.25, 0.5, 1.0)
    """
    share, left, rung = 0.0, 1.0, first
    while rung < RUNGS:
        share += left / 2 * rung / RUNGS
        left, rung = left / 2, rung * 2
    return first / RUNGS, share + left, 1.0


def make_budget(
    spec: Spec,
    facts: Facts,
    candidates: Sequence[Candidate],
    epochs: float,
    full_tokens: int,
    steps: int,
    items: int,
) -> Budget:
    """The study's budget with search and confirmation apart, each as a range."""
    limit = parse_limit(spec.aim.budget)
    lead = candidates[0]
    warmup = lead.parameters.get("warmup_ratio")
    first = first_rung(steps, float(warmup.default) if warmup else 0.0)
    at_once = _at_once(spec, facts, candidates)
    confirmation = _confirmation(candidates, spec.search, at_once)
    mean = _mean([c.duration for c in candidates])
    trials, trial_notes = _affordable(spec, facts, mean, confirmation, at_once, first, limit)
    search = _search(candidates, mean, trials, first, at_once)
    hours = _device_hours(search, confirmation, at_once, candidates)
    price = facts.hardware.price_per_gpu_hour
    return Budget(
        trials=trials,
        rungs=RUNGS,
        first_rung=first,
        rung_items=items,
        epochs=epochs,
        full_tokens=full_tokens,
        trials_at_once=at_once,
        search=search,
        confirmation=confirmation,
        finalists=spec.search.finalists,
        confirmation_seeds=spec.search.confirmation_seeds,
        gpu_hours=round(hours, 4),
        cost_usd=None if price is None else round(hours * price, 2),
        purchases=tuple(_purchase(c, facts, limit, at_once) for c in candidates),
        notes=(*_notes(first, steps, limit, price), *trial_notes),
    )


def _at_once(spec: Spec, facts: Facts, candidates: Sequence[Candidate]) -> int:
    """Trials side by side: one for each group of GPUs, or the workers asked for on one device."""
    gpus = facts.hardware.gpus
    if gpus <= 1:
        return min(spec.search.workers, spec.search.trials)
    widest = max(candidate.gpus_per_trial for candidate in candidates)
    return max(1, min(gpus // widest, spec.search.trials))


def _mean(durations: Sequence[Duration]) -> Duration:
    """The mean over candidates, as if the search spread its trials evenly."""
    return Duration(
        seconds=sum(d.seconds for d in durations) / len(durations),
        low=sum(d.low for d in durations) / len(durations),
        high=sum(d.high for d in durations) / len(durations),
    )


def _search(
    candidates: Sequence[Candidate], mean: Duration, trials: int, first: int, at_once: int
) -> Duration:
    """Defaults of the candidates run in full; the rest is searched and pruned."""
    defaults = min(len(candidates), max(trials // 3, 1))
    least, expected, most = searched_shares(first)
    rest = trials - defaults
    waves = 1 / at_once
    return Duration(
        seconds=round((defaults + rest * expected) * mean.seconds * waves, 3),
        low=round((defaults + rest * least) * mean.low * waves, 3),
        high=round((defaults + rest * most) * mean.high * waves, 3),
    )


def _confirmation(candidates: Sequence[Candidate], search: SearchSpec, at_once: int) -> Duration:
    """Finalists to so many seeds in all; one seed of each was the trial itself."""
    runs = search.finalists * max(search.confirmation_seeds - 1, 0)
    cheapest = min(candidates, key=lambda c: c.duration.low)
    dearest = max(candidates, key=lambda c: c.duration.high)
    mean = _mean([c.duration for c in candidates])
    return Duration(
        seconds=round(runs * mean.seconds / at_once, 3),
        low=round(runs * cheapest.duration.low / at_once, 3),
        high=round(runs * dearest.duration.high / at_once, 3),
    )


def _device_hours(
    search: Duration, confirmation: Duration, at_once: int, candidates: Sequence[Candidate]
) -> float:
    gpus = sum(c.gpus_per_trial for c in candidates) / len(candidates)
    return (search.seconds + confirmation.seconds) * at_once * gpus / 3600


def _affordable(
    spec: Spec,
    facts: Facts,
    mean: Duration,
    confirmation: Duration,
    at_once: int,
    first: int,
    limit: Limit | None,
) -> tuple[int, tuple[str, ...]]:
    """How many trials the budget buys beside the confirmation, at most as many as asked for."""
    wanted = spec.search.trials
    seconds = _clock_seconds(limit, facts, at_once)
    if seconds is None:
        return wanted, ()
    _, expected, _ = searched_shares(first)
    left = seconds - confirmation.seconds
    buys = math.floor(left * at_once / max(mean.seconds * expected, 1e-9))
    if buys >= wanted:
        return wanted, ()
    if buys < 1:
        why = "less than one trial beside the confirmation, so the confirmation is what to cut"
        return 1, (f"The budget buys {why}.",)
    return buys, (f"The budget buys about {buys} of the {wanted} trials asked for.",)


def _clock_seconds(limit: Limit | None, facts: Facts, at_once: int) -> float | None:
    """A limit as seconds on the clock with all devices busy; None if it does not bind."""
    if limit is None:
        return None
    if limit.unit == "h":
        return limit.amount * 3600
    devices = max(facts.hardware.gpus, 1)
    if limit.unit == "gpuh":
        return limit.amount * 3600 / devices
    price = facts.hardware.price_per_gpu_hour
    return None if not price else limit.amount / price * 3600 / devices


def _purchase(candidate: Candidate, facts: Facts, limit: Limit | None, at_once: int) -> Purchase:
    """What one full trial of a candidate costs, and how many of them the whole budget buys."""
    hours = candidate.duration.seconds * candidate.gpus_per_trial / 3600
    price = facts.hardware.price_per_gpu_hour
    seconds = _clock_seconds(limit, facts, at_once)
    devices = max(facts.hardware.gpus, 1)
    side_by_side = max(devices // candidate.gpus_per_trial, 1)
    trials = None
    if seconds is not None:
        trials = math.floor(seconds * side_by_side / max(candidate.duration.seconds, 1e-9))
    return Purchase(
        strategy=candidate.strategy,
        model=candidate.model,
        gpus_per_trial=candidate.gpus_per_trial,
        trials_at_once=side_by_side,
        device_hours_per_trial=float(f"{hours:.4g}"),
        cost_usd_per_trial=None if price is None else float(f"{hours * price:.4g}"),
        full_trials=trials,
    )


def _notes(first: int, steps: int, limit: Limit | None, price: float | None) -> tuple[str, ...]:
    notes = []
    if first == RUNGS:
        notes.append(
            f"A full budget has {steps} optimizer steps: too few to judge a trial before its end "
            f"(a rung needs {STEPS_BEFORE_RUNG}), so none is pruned."
        )
    elif first > EARLIEST_RUNG:
        notes.append(
            f"A full budget has {steps} optimizer steps, so the first rung with "
            f"{STEPS_BEFORE_RUNG} of them is {first} of {RUNGS}."
        )
    if limit is not None and limit.unit == "usd" and not price:
        notes.append("The budget is in US dollars but no price per GPU-hour is known.")
    return tuple(notes)
