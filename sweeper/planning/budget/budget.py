"""The study's budget: trials and their rungs, the time of each phase, and the price.

A user's budget limits trials, finalists and seeds.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from sweeper import units
from sweeper.errors import SpecError, TooLong
from sweeper.facts.machine.gpus import list_price
from sweeper.facts.record import Facts
from sweeper.features import parts
from sweeper.planning.budget.study_phases import (
    StudyPhases,
    TimedCandidate,
    before_workers,
    download_notes,
    timing,
)
from sweeper.planning.budget.trial_budget import RUNGS
from sweeper.planning.costs.trial_seconds import Workload
from sweeper.plans import Budget, Candidate, Duration, PhaseCost
from sweeper.spec import Spec

# The earliest rung at which trials may be pruned. In replays of recorded trials at equal cost,
# successive halving from rung 1 ended 0.364 above the best trial if learning curves crossed; from
# rung 2 it ended 0.131 above, and without pruning 0.148. No minimum of steps is needed, since the
# pruner considers a rung's uncertainty: on six tasks of 8 to 120 steps per trial
# (benchmarks/search) pruning ended no worse than from the first rung with at least 50 steps.
EARLIEST_RUNG = 2
# Share of a full budget that pruning from the earliest rung saves in a searched trial, on average:
# 0.05 to 0.26 in the same replays.
_PRUNED_SHARE = 0.1
# Without a budget, an optional phase is planned if it takes at most this share of the search.
_OPTIONAL_SHARE = 0.15

# Trials that make a useful search. A user's budget pays for these first, then for confirmation,
# then for further trials.
USEFUL_TRIALS = 8
# Seeds added to those of each finalist if the user limits neither budget nor seeds. In 1,000
# simulated studies of tasks with written answers, five seeds instead of three find 82% of the gains
# over the default instead of 65%, and 76% of those over a baseline instead of 55%
# (benchmarks/verdict): seeds are most of the noise.
EXTRA_SEEDS = 2
# A sweep of more than a day is usually shortened: common practice.
LONG_SECONDS = 24 * 3600.0

# Fewest rows of a search on a part of the rows: hundreds of optimizer steps in batches of 32. A
# choice of this project.
MIN_PART_ROWS = 10_000
# Pairs of trials that a part of the rows ordered as all rows did, of 66,190 pairs on six tasks:
# 83.6% on a quarter of the rows, 77.2% on an eighth, 91.5% on half (benchmarks/findings.md).
_PART = (
    "In recorded searches on small sets, a quarter of the rows ordered 84% of pairs of trials as "
    "all rows did. A larger --budget searches on all rows."
)
_SPARSE = (
    "Trials are scored at rungs {rungs} and {all} of {all}: at every one, validation would take "
    "more than a tenth of a trial."
)
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
        SpecError: The text has another form.

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
    """The expected share of a full budget that a searched trial uses.

    Args:
        first: The first rung at which trials are pruned.

    >>> searched_share(2), searched_share(8)
    (0.9, 1.0)
    """
    return 1.0 - _PRUNED_SHARE * (RUNGS - first) / (RUNGS - EARLIEST_RUNG)


def make_budget(
    spec: Spec,
    facts: Facts,
    timed_candidates: Sequence[TimedCandidate],
    workload: Workload,
    part: int | None = None,
) -> Budget:
    """The study's budget: its trials, the time of each phase, and its price.

    Args:
        part: Rows that the search trains on; None for all.
    """
    limit = parse_budget(spec.aim.budget)
    limit_seconds = _limit_seconds(limit, facts)
    chosen = spec.training.stop_overfitting
    stop_overfitting = workload.epochs > 1 if chosen is None else chosen
    candidates = [timed.candidate for timed in timed_candidates]
    warmup = candidates[0].parameters.get("warmup_ratio")
    first = first_rung(float(warmup.default) if warmup else 0.0, workload.rung_every)
    share = searched_share(first)
    at_once = _parallel_trials(spec, facts, candidates)
    # Of these, the trials with a device or cores of their own: only they shorten the study.
    side_by_side = at_once if facts.hardware.gpus > 1 else workload.processes
    study = StudyPhases(facts, timed_candidates, workload, spec.search, side_by_side)
    study = study.with_trials(spec.search.trials)
    study, trials, trial_notes = _affordable_study(spec, study, share, limit_seconds)
    core = _core_seconds(study, trials, share)
    features = _planned_features(spec, study, core, limit_seconds)
    finalists, seeds = study.search.finalists, study.search.confirmation_seeds
    unlimited = limit is None and "confirmation_seeds" not in spec.search.model_fields_set
    extra = EXTRA_SEEDS if unlimited and min(finalists, seeds) > 1 else 0
    with_extra = study.with_confirmation(finalists, seeds + extra)
    phases = _phases(study, features, core, _core_seconds(with_extra, trials, share))
    sweep = Duration.sum(phases.values())
    groups = side_by_side if facts.hardware.gpus else 1  # a processor is one device
    # Device-hours for each second of the sweep. A rented machine is paid from its start, so
    # downloads count too.
    hours_per_second = groups * sum(c.setup.gpus for c in candidates) / len(candidates) / 3600
    price = facts.hardware.price_per_gpu_hour
    ends = (sweep.seconds, sweep.low, sweep.high)
    usd = [None if price is None else round(end * hours_per_second * price, 6) for end in ends]
    return Budget(
        trials=trials,
        rungs=RUNGS,
        first_rung=first,
        rung_items=workload.rung_items,
        rung_every=workload.rung_every,
        stop_overfitting=stop_overfitting,
        epochs=workload.epochs,
        full_tokens=workload.full_tokens,
        train_rows=part,
        trials_at_once=at_once,
        limit_seconds=limit_seconds,
        phases=phases,
        features=features,
        sweep=sweep,
        finalists=finalists,
        confirmation_seeds=seeds,
        extra_seeds=extra,
        gpu_hours=round(sweep.seconds * hours_per_second, 4),
        cost_usd=usd[0],
        cost_low_usd=usd[1],
        cost_high_usd=usd[2],
        timing=timing(facts, timed_candidates),
        limit_notes=(*trial_notes, *_limit_notes(facts, limit, part, phases)),
        notes=(
            *_training_notes(workload, part, stop_overfitting),
            *download_notes(facts),
            *(note for cost in features.values() for note in cost.notes),
        ),
    )


def _phases(
    study: StudyPhases,
    features: Mapping[str, PhaseCost],
    core: Mapping[str, float],
    with_extra: Mapping[str, float],
) -> dict[str, Duration]:
    """The time of each phase, in the order in which they run.

    Args:
        core: Seconds of the phases that belong to no feature.
        with_extra: The same with extra seeds, which only raise the upper ends of the times.
    """
    timed = {
        name: study.duration(cost.seconds, cost.uncertainty)
        for name, cost in features.items()
        if cost.planned
    }
    phases = {
        **before_workers(study.facts),
        **{name: timed[name] for name in timed if features[name].in_search},
        **{name: study.duration(seconds) for name, seconds in core.items()},
        **timed,
    }
    for name, seconds in with_extra.items():
        high = study.duration(seconds).high
        phases[name] = phases[name].model_copy(update={"high": high})
    return phases


def _training_notes(workload: Workload, part: int | None, stop_overfitting: bool) -> Iterator[str]:
    """Notes on a search on a part, on rungs that are not scored, and on early ends of trials."""
    if part:
        yield _PART
    if workload.rung_every > 1:
        rungs = ", ".join(map(str, range(workload.rung_every, RUNGS, workload.rung_every)))
        yield _SPARSE.format(rungs=rungs, all=RUNGS)
    if stop_overfitting and workload.epochs > 1:
        yield _OVERFITS


def _planned_features(
    spec: Spec, study: StudyPhases, core: Mapping[str, float], limit: float | None
) -> dict[str, PhaseCost]:
    """The costs of features' phases, with the decision which optional ones are planned.

    Args:
        core: Seconds of the phases that belong to no feature.
        limit: Seconds of the user's budget; None without one.
    """
    costs = _feature_phases(spec, study)
    downloads = math.fsum(phase.high for phase in before_workers(study.facts).values())
    required = (cost.seconds * cost.uncertainty for cost in costs.values() if not cost.optional)
    taken = math.fsum([*core.values(), *required])
    for name, cost in costs.items():
        if cost.optional:
            remaining = None
            if limit is not None:
                # The expected seconds whose upper end fills the budget.
                affordable = (limit - downloads) / study.duration(1.0, cost.uncertainty).high
                remaining = max(affordable - taken, 0.0)
            costs[name] = decided = _with_decision(cost, core["search"], remaining)
            taken += decided.seconds if decided.planned else 0.0
    return costs


def _feature_phases(spec: Spec, study: StudyPhases) -> dict[str, PhaseCost]:
    """The cost of each feature that has a phase in the study."""
    costs = ((name, plan_phase(spec, study)) for name, plan_phase in parts.PLAN_PHASE.all())
    return {name: cost for name, cost in costs if cost is not None}


def _parallel_trials(spec: Spec, facts: Facts, candidates: Sequence[Candidate]) -> int:
    """Number of parallel trials: the workers asked for, or one for each group of GPUs."""
    gpus = facts.hardware.gpus
    if gpus <= 1:
        return min(spec.search.workers or 1, spec.search.trials)
    groups = gpus // max(candidate.setup.gpus for candidate in candidates)
    return max(1, min(spec.search.workers or groups, groups, spec.search.trials))


def _core_seconds(study: StudyPhases, trials: int, share: float) -> dict[str, float]:
    """Seconds of each phase that belongs to no feature."""
    return {
        "baselines": study.baselines(),
        "search": study.stages(trials) + study.searching(trials, share),
        "confirmation": study.confirmation(),
        "test": study.test(),
    }


def _affordable_study(
    spec: Spec, study: StudyPhases, share: float, seconds: float | None
) -> tuple[StudyPhases, int, tuple[str, ...]]:
    """The largest study that the budget pays for at the upper end of its time; its trials; notes.

    From ``USEFUL_TRIALS`` on, confirmation takes precedence over further trials.

    Args:
        share: Share of a full budget that a searched trial uses.
        seconds: Seconds of the user's budget; None without one.

    Raises:
        TooLong: The budget does not even pay for one trial.
    """
    wanted, wanted_seeds = spec.search.trials, spec.search.confirmation_seeds
    if wanted == 1 and "confirmation_seeds" not in spec.search.model_fields_set:
        study = study.with_confirmation(1, 1)  # the user wants one training: no more seeds
    if seconds is None:
        return study, wanted, ()
    downloads = sum(phase.high for phase in before_workers(study.facts).values())

    def upper(study: StudyPhases, trials: int) -> float:
        core = study.duration(math.fsum(_core_seconds(study, trials, share).values())).high
        costs = (cost for cost in _feature_phases(spec, study).values() if not cost.optional)
        features = (study.duration(cost.seconds, cost.uncertainty).high for cost in costs)
        return downloads + core + math.fsum(features)

    best, most = study, 0
    for finalists, seeds in ((spec.search.finalists, wanted_seeds), (1, wanted_seeds), (1, 1)):
        smaller = study.with_confirmation(finalists, seeds)
        trials = bisect.bisect_right(
            range(1, wanted + 1), seconds, key=lambda n: upper(smaller.with_trials(n), n)
        )
        if trials > most:
            best, most = smaller, trials
        if most >= min(USEFUL_TRIALS, wanted):
            break
    if not most:
        least = upper(study.with_confirmation(1, 1).with_trials(1), 1)
        raise TooLong(
            f"the budget has no room for a trial: one of {study.lead.strategy} with downloads, "
            f"start, baselines and test split takes up to {units.duration(least)}",
            fix=f"Give at least --budget {math.ceil(least / 360) / 10:g}h, a smaller model, fewer "
            "rows (--max-rows) or fewer epochs (--epochs).",
        )
    best = best.with_trials(most)
    confirmed = (best.search.finalists, best.search.confirmation_seeds)
    if most == wanted and confirmed == (min(spec.search.finalists, most), wanted_seeds):
        return best, most, ()
    note = (
        f"The budget buys {units.plural(most, 'trial')} of the {wanted} requested, and "
        f"{units.plural(confirmed[0], 'finalist')} with {units.plural(confirmed[1], 'seed')}."
    )
    if min(confirmed) == 1:
        note += (
            " With one finalist or one seed nothing is recommended: the report then names the best "
            "on validation, which may be luck. A larger budget buys a recommendation."
        )
    return best, most, (note,)


def _with_decision(cost: PhaseCost, search: float, remaining: float | None) -> PhaseCost:
    """An optional phase, with the decision whether it is planned, and a note on the reason.

    Args:
        search: Seconds of the search.
        remaining: Seconds of the budget that remain for it; None without a budget.
    """
    takes = f"about {units.duration(cost.seconds)}"
    content = f"{cost.content}, {takes}" if cost.content else takes
    if remaining is None:
        share = f"{_OPTIONAL_SHARE:.0%} of the time of the search"
        planned = cost.seconds <= _OPTIONAL_SHARE * search
        why = f"since it takes {'less' if planned else 'more'} than {share}"
    else:
        planned = remaining >= cost.seconds
        why = f"since about {units.duration(remaining)} of the budget remain for it"
    is_made = "is planned" if planned else "is not planned"
    change = f"--no-{cost.flag[2:]} leaves it out" if planned else f"{cost.flag} adds it"
    note = f"The {cost.title} ({content}) {is_made}, {why}: {change}."
    return cost.model_copy(update={"planned": planned, "notes": (*cost.notes, note)})


def in_time(spec: Spec, budget: Budget) -> bool:
    """Whether the budget pays for all trials; without one, whether they take at most a day."""
    all_trials = budget.trials == spec.search.trials
    return all_trials and (budget.limit_seconds is not None or budget.sweep.seconds <= LONG_SECONDS)


def _limit_notes(
    facts: Facts, limit: UserBudget | None, part: int | None, phases: Mapping[str, Duration]
) -> Iterator[str]:
    """Notes on the price of a budget, a search on a part, and a study of more than a day.

    Args:
        part: Rows that the search trains on; None for all.
    """
    hardware = facts.hardware
    if limit is not None and hardware.price_source:
        price = f"{hardware.price_per_gpu_hour:g} USD an hour for {hardware.name}"
        source = f"({hardware.price_source}); set your own with --price."
        yield f"The budget is counted at {price} {source}"
    if part is not None:
        yield (
            f"The search trains on {part:,} of {facts.data.train_rows:,} rows, and its verdict is "
            "about these. The winner is then trained once on all rows and scored once."
        )
    if limit is None and Duration.sum(phases.values()).seconds >= LONG_SECONDS:
        why = ""
        if (winner := phases.get("refit")) is not None:
            why = f", {units.duration(winner.seconds)} of it for the winner on all rows"
        yield f"More than a day{why}: give --budget 24h, --max-rows, --epochs or a smaller model."


def _limit_seconds(limit: UserBudget | None, facts: Facts) -> float | None:
    """The user's budget as seconds on the clock with all devices busy; None without a budget."""
    if limit is None:
        return None
    if limit.unit == "h":
        return limit.amount * 3600
    devices = max(facts.hardware.gpus, 1)
    if limit.unit == "gpuh":
        return limit.amount * 3600 / devices
    price = facts.hardware.price_per_gpu_hour
    assert price is not None  # ``with_price`` found it
    return limit.amount / price * 3600 / devices


def with_price(spec: Spec, facts: Facts) -> Facts:
    """The facts with the GPU's list price, if a budget in US dollars needs one.

    Raises:
        SpecError: No price is known, so the budget would have no effect.
    """
    limit, hardware = parse_budget(spec.aim.budget), facts.hardware
    if limit is None or limit.unit != "usd" or hardware.price_per_gpu_hour:
        return facts
    price = list_price(hardware.name) if hardware.gpus else None
    if price is None:
        raise SpecError(
            f"budget = {spec.aim.budget!r}",
            f"The price of {hardware.name} is not known, so this limits nothing.",
            "Give --price USD, the price of an hour.",
            "--budget",
        )
    update = {"price_per_gpu_hour": price.usd, "price_source": price.source}
    return facts.model_copy(update={"hardware": hardware.model_copy(update=update)})
