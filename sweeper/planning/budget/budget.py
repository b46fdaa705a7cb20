"""The study's budget: the full budget, its rungs, and what the user's budget pays for."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from sweeper import units
from sweeper.errors import SpecError
from sweeper.facts.record import Facts, HardwareFacts
from sweeper.features import parts
from sweeper.hyperparameters import EPOCHS
from sweeper.objective import Objective
from sweeper.planning.budget.candidate_costs import Priced
from sweeper.planning.budget.study_phases import (
    StudyPhases,
    before_workers,
    download_notes,
    timing,
)
from sweeper.planning.budget.trial_budget import RUNGS
from sweeper.planning.costs.trial_seconds import Course
from sweeper.plans import Budget, Candidate, Duration, PhaseCost
from sweeper.spec import Spec

# Replays of recorded runs at equal cost: halving from an eighth was ruinous where curves cross
# (distance to the best 0.364), from a quarter it beat no pruning (0.131 against 0.148). How many
# steps lie before it does not matter: the pruner knows by itself how little a rung tells. On six
# recorded tasks of 8 to 120 steps a trial (benchmarks/search) pruning from here ended no worse than
# from the first rung of 50 steps.
EARLIEST_RUNG = 2
# What share of a full budget pruning from the earliest rung on saves of a searched trial: in the
# same replays, beside the same search without pruning, 0.05 to 0.26.
_SAVED = 0.1
# A trial overfits where it has not been better at two scored rungs since its best one.
_RUNGS_TO_OVERFIT = 3
# Without a budget, an optional phase is made unasked if it takes no more than this share of the
# search. What costs as much as seven full trials then needs a search of 50 trials or more.
_OPTIONAL_SHARE = 0.15

# Common practice: a sweep that takes longer than a day is shortened rather than waited for.
_LONG_SECONDS = 24 * 3600.0

_OVERFITS = (
    "Rows are seen more than once, so a trial can overfit. It ends early, with its best "
    "weights, if its validation loss rises beyond noise while its training loss falls."
)
_AMOUNT = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?)\s*(gpuh|usd|h)\s*$")
Unit = Literal["gpuh", "usd", "h"]


class UserBudget(NamedTuple):
    """A budget that the user set: GPU-hours, US dollars, or hours on the clock."""

    amount: float
    unit: Unit


def parse_budget(text: str | None) -> UserBudget | None:
    """Read ``8gpuh``, ``30usd`` or ``2h``.

    Raises:
        SpecError: It is none of these.

    >>> parse_budget("8gpuh")
    UserBudget(amount=8.0, unit='gpuh')
    """
    if text is None:
        return None
    match = _AMOUNT.match(text)
    if match is None or float(match.group(1)) <= 0:
        raise SpecError(
            f"budget = {text!r}",
            "A budget is a number above 0 with a unit.",
            "Write 8gpuh (GPU-hours), 30usd (with a price per GPU-hour) or 2h (on the clock).",
            "--budget",
        )
    unit: Unit = match.group(2)  # type: ignore[assignment]
    return UserBudget(float(match.group(1)), unit)


def first_rung(warmup_ratio: float, every: int = 1) -> int:
    """The earliest rung at which a trial may be pruned; ``RUNGS`` means never.

    Args:
        warmup_ratio: Share of the steps in which the rate rises.
        every: Rungs from one scored rung to the next.

    >>> first_rung(0.05), first_rung(0.3), first_rung(0.05, every=4)
    (2, 3, 4)
    """
    earliest = max(EARLIEST_RUNG, math.ceil(warmup_ratio * RUNGS))
    return next((rung for rung in range(every, RUNGS, every) if rung >= earliest), RUNGS)


def searched_share(first: int) -> float:
    """Share of a full budget that a searched trial is expected to use on average.

    The later the first rung that prunes, the less is left to save.

    >>> searched_share(2), searched_share(8)
    (0.9, 1.0)
    """
    return 1.0 - _SAVED * (RUNGS - first) / (RUNGS - EARLIEST_RUNG)


def _earliest_ends(
    candidates: Sequence[Candidate], course: Course, first: int, stops: bool
) -> tuple[float, float, float]:
    """Shares of a full budget after which trials end if nothing is learned.

    Of a default, which overfits: the third scored rung is the first that can say so, once rows are
    seen again. Of a searched trial, which may also be pruned, or have the fewest epochs. Of one
    that is not pruned.
    """
    scored = range(_RUNGS_TO_OVERFIT * course.rung_every, RUNGS, course.rung_every)
    overfit = (rung for rung in scored if stops and rung * course.epochs > RUNGS)
    searched = [c.parameters[EPOCHS].choices for c in candidates if EPOCHS in c.parameters]
    epochs = [float(number) for choices in searched for number in choices or ()]
    default = next(overfit, RUNGS) / RUNGS
    finalist = min(default, min(epochs, default=course.epochs) / course.epochs)
    return default, min(finalist, first / RUNGS), finalist


def make_budget(
    spec: Spec,
    facts: Facts,
    costs: Sequence[Priced],
    course: Course,
    full_tokens: int,
    objective: Objective,
) -> Budget:
    """The study's budget: its trials, the time of each phase, and what it costs."""
    limit = parse_budget(spec.aim.budget)
    seconds = _clock_seconds(limit, facts)
    asked = spec.training.stop_overfitting
    stops = course.epochs > 1 if asked is None else asked
    candidates = [cost.candidate for cost in costs]
    warmup = candidates[0].parameters.get("warmup_ratio")
    first = first_rung(float(warmup.default) if warmup else 0.0, course.rung_every)
    share = searched_share(first)
    at_once = _at_once(spec, facts, candidates)
    side_by_side = at_once if facts.hardware.gpus > 1 else course.processes
    study = StudyPhases(facts, costs, course, spec.search, side_by_side)
    study = study.of_trials(spec.search.trials)
    trials, trial_notes = _affordable(spec, study, share, seconds)
    study = study.of_trials(trials)
    searching, confirmation = study.searching(trials, share), study.confirmation()
    core = {
        "baselines": study.baselines(),
        "search": study.stages(trials) + searching,
        "confirmation": confirmation,
        "test": study.test(),
    }
    features: dict[str, PhaseCost] = {}
    for name, cost in _features(spec, study).items():
        features[name] = _offered(cost, core, features, seconds) if cost.optional else cost
    planned = {name: cost for name, cost in features.items() if cost.planned}
    timed = {n: study.duration(cost.seconds, cost.uncertainty) for n, cost in planned.items()}
    earlier = {name: timed[name] for name, cost in planned.items() if cost.in_search}
    work = {**earlier, **{name: study.duration(one) for name, one in core.items()}, **timed}
    phases = {**before_workers(facts), **work}
    held, sweep = Duration.sum(work.values()), Duration.sum(phases.values())
    ends = _earliest_ends(candidates, course, first, stops)
    saved = searching + confirmation - study.unlearned(trials, *ends)
    groups = side_by_side if facts.hardware.gpus else 1  # a processor is one device
    devices = groups * sum(c.gpus for c in candidates) / len(candidates)
    price = facts.hardware.price_per_gpu_hour
    return Budget(
        trials=trials,
        rungs=RUNGS,
        first_rung=first,
        rung_items=course.rung_items,
        rung_every=course.rung_every,
        stop_overfitting=stops,
        epochs=course.epochs,
        full_tokens=full_tokens,
        trials_at_once=at_once,
        limit_seconds=seconds,
        phases=phases,
        features=features,
        sweep=sweep,
        unlearned_seconds=max(sweep.seconds - saved, 0.0),
        finalists=spec.search.finalists,
        confirmation_seeds=spec.search.confirmation_seeds,
        gpu_hours=round(held.seconds * devices / 3600, 4),
        cost_usd=_usd(held.seconds * devices, price),
        cost_low_usd=_usd(held.low * devices, price),
        cost_high_usd=_usd(held.high * devices, price),
        timing=timing(facts.hardware, costs),
        limit_notes=(*_without_price(limit, facts.hardware), *trial_notes),
        notes=(
            *_scored_rungs(course),
            *([_OVERFITS] if stops and course.epochs > 1 else []),
            *_too_long(sweep, limit),
            *download_notes(facts),
            *(note for cost in features.values() for note in cost.notes),
        ),
    )


def _usd(seconds: float, price: float | None) -> float | None:
    return None if price is None else round(seconds / 3600 * price, 2)


def _features(spec: Spec, phases: StudyPhases) -> dict[str, PhaseCost]:
    costs = ((name, plan_phase(spec, phases)) for name, plan_phase in parts.PLAN_PHASE.all())
    return {name: cost for name, cost in costs if cost is not None}


def _at_once(spec: Spec, facts: Facts, candidates: Sequence[Candidate]) -> int:
    """Trials side by side: the workers asked for, or one for each group of GPUs."""
    gpus = facts.hardware.gpus
    if gpus <= 1:
        return min(spec.search.workers or 1, spec.search.trials)
    groups = gpus // max(candidate.gpus for candidate in candidates)
    return max(1, min(spec.search.workers or groups, groups, spec.search.trials))


def _affordable(
    spec: Spec, study: StudyPhases, share: float, limit_seconds: float | None
) -> tuple[int, tuple[str, ...]]:
    """How many of the requested trials fit into the budget, after confirmation and features."""
    wanted = spec.search.trials
    if limit_seconds is None:
        return wanted, ()
    after = {"confirmation": study.confirmation()}
    asked = [cost for cost in _features(spec, study).values() if not cost.optional]
    after |= {f"the {cost.title}": cost.seconds for cost in asked}
    trial = max(share * sum(cost.searched for cost in study.costs) / len(study.costs), 1e-9)
    seconds = limit_seconds - study.stages(wanted) - sum(after.values())
    buys = math.floor(seconds * study.side_by_side / trial)
    if buys >= wanted:
        return wanted, ()
    if buys >= 1:
        return buys, (f"The budget buys about {buys} of the {wanted} requested trials.",)
    cheapest = min(study.costs, key=lambda cost: cost.searched)
    after = {f"a trial of {cheapest.candidate.strategy}": cheapest.searched} | after
    takes = "; ".join(f"{name} takes about {units.duration(one)}" for name, one in after.items())
    cheaper = " ".join(cost.cheaper or f"Leave {cost.flag} out." for cost in asked if cost.flag)
    return 1, (
        f"The budget has no room for a trial: {takes}. Raise it, confirm less (--finalists 1 "
        "--confirmation-seeds 1), or choose a smaller model, fewer rows (--max-rows) or fewer "
        f"epochs (--epochs). {cheaper}".rstrip(),
    )


def _offered(
    cost: PhaseCost,
    core: Mapping[str, float],
    features: Mapping[str, PhaseCost],
    limit_seconds: float | None,
) -> PhaseCost:
    """An optional phase, with whether it is planned and why, in words.

    Args:
        core: Seconds of the core's phases.
        features: Phases of features that come before it.
    """
    the, off = f"The {cost.title}", f"--no-{cost.flag[2:]} leaves it out"
    takes = f"about {units.duration(cost.seconds)}"
    if limit_seconds is None:
        share = f"{_OPTIONAL_SHARE:.0%} of the time of the search"
        planned = cost.seconds <= _OPTIONAL_SHARE * core["search"]
        note = f"{the} is made, since it takes less than {share}; {off}."
        if not planned:
            content = f"{cost.content}, {takes}" if cost.content else takes
            more = f"since it takes more than {share}: {cost.flag} adds it."
            note = f"No {cost.title} ({content}), {more}"
    else:
        others = [one.seconds for one in features.values() if one.planned]
        left = max(limit_seconds - math.fsum([*core.values(), *others]), 0.0)
        planned = left >= cost.seconds
        verb = "is planned" if planned else f"({takes}) is not planned"
        note = (
            f"{the} {verb}: about {units.duration(left)} of the budget are left for it. It is made "
            f"if its forecast then fits; {off}."
        )
    return cost.model_copy(update={"planned": planned, "notes": (*cost.notes, note)})


def _too_long(sweep: Duration, limit: UserBudget | None) -> tuple[str, ...]:
    """How to shorten a study of more than a day for which the user set no budget."""
    if limit is not None or sweep.seconds < _LONG_SECONDS:
        return ()
    return (
        "To shorten the sweep: --budget 24h says how many trials that pays for; trials are shorter "
        "with a smaller model, fewer rows (--max-rows) or fewer epochs (--epochs).",
    )


def _clock_seconds(limit: UserBudget | None, facts: Facts) -> float | None:
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


def _scored_rungs(course: Course) -> tuple[str, ...]:
    if course.rung_every == 1:
        return ()
    rungs = ", ".join(str(r) for r in range(course.rung_every, RUNGS, course.rung_every))
    return (
        f"Trials are scored at rungs {rungs} and {RUNGS} of {RUNGS}: at every one, validation "
        "would take more than a tenth of a trial.",
    )


def _without_price(limit: UserBudget | None, hardware: HardwareFacts) -> tuple[str, ...]:
    if limit is None or limit.unit != "usd" or hardware.price_per_gpu_hour:
        return ()
    why = "no price per GPU-hour is known" if hardware.gpus else "there is no GPU to pay for"
    do = "give --price USD" if hardware.gpus else "give a time, such as --budget 2h"
    return (f"The budget is in US dollars but {why}, so it limits nothing; {do}.",)
