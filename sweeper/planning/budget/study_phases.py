"""Seconds of a study's phases as ranges, from the download of weights on, and its cost.

The user's budget is applied in ``budget``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from sweeper import units
from sweeper.data.splits import curve_seeds, part_sizes
from sweeper.facts.record import Facts, HardwareFacts, ModelFacts
from sweeper.planning.budget.candidate_costs import (
    BETWEEN_SECONDS,
    START_SECONDS,
    Priced,
    baseline_scoring,
    baseline_seconds,
    clock_of_default,
    own_text_seconds,
)
from sweeper.planning.costs.trial_seconds import Course
from sweeper.plans import Candidate, Duration
from sweeper.spec import SearchSpec

# Assumed, since nobody has measured the connection: 100 Mbit/s, from 1 Gbit/s down to 25 Mbit/s.
_BITS_PER_SECOND = (1e9, 1e8, 25e6)
_BYTES = {"float32": 4, "float64": 8, "float8_e4m3fn": 1, "int8": 1}
# packaged:smollm2 (134.5 million parameters, dequantised and written as 540 MB) on two cores took
# 20.5 s, 25.8 s and 36.8 s, the longest with nothing in the file cache.
_SECONDS_PER_PARAMETER = tuple(seconds / 134.5e6 for seconds in (20.5, 25.8, 36.8))
# Other disks and processors, by half and double.
_OTHER_MACHINES = (0.5, 1.0, 2.0)


def timing(hardware: HardwareFacts, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """The sources of the plan's times, as text."""
    learned = [
        f"{candidate.strategy}: {note.removeprefix('time: ')}"
        for candidate in candidates
        for note in candidate.setup_notes
        if note.startswith("time: ")
    ]
    if hardware.calibrated:
        base = f"this machine was calibrated on {hardware.calibrated}"
    elif hardware.device == "cpu":
        base = "this machine is not calibrated: sweeper run does it once, in seconds"
    else:
        base = "the card's data sheet and published measurements of such cards"
    return (base, *dict.fromkeys(learned))


def spread_of(candidates: Sequence[Candidate]) -> tuple[float, float]:
    """The widest range of any candidate, as factors of its expected seconds."""
    whole = [c.duration for c in candidates if c.duration.seconds > 0]
    if not whole:
        return 1.0, 1.0
    return min(d.low / d.seconds for d in whole), max(d.high / d.seconds for d in whole)


def _range(least: float, middle: float, most: float, spread: tuple[float, float]) -> Duration:
    return Duration(
        seconds=round(middle, 3),
        low=round(min(least, middle) * spread[0], 3),
        high=round(max(most, middle) * spread[1], 3),
    )


def together(*phases: Duration | None) -> Duration:
    """The sum of ranges; low ends are added to low ends, since one machine runs all phases."""
    parts = [phase for phase in phases if phase is not None]
    return Duration(
        seconds=round(sum(part.seconds for part in parts), 3),
        low=round(sum(part.low for part in parts), 3),
        high=round(sum(part.high for part in parts), 3),
    )


def search_seconds(
    costs: Sequence[Priced],
    trials: int,
    shares: tuple[float, float, float],
    side_by_side: int,
    spread: tuple[float, float],
) -> Duration:
    """Defaults of the candidates run in full; the rest is searched and pruned.

    ``shares`` of a full budget are what a searched trial uses at least, by expectation and at most.
    What a baseline has made already costs nothing again, and what holds nothing to search runs
    once.
    """
    paid = [cost for cost in costs if not cost.free]
    defaults = paid[: max(trials // 3, 1)] if paid else []
    searchable = [c for c in paid if any(p.searched for p in c.candidate.parameters.values())]
    rest = max(trials - len(defaults) - (len(costs) - len(paid)), 0) if searchable else 0
    each = sum(c.searched for c in searchable) / len(searchable) if searchable else 0.0
    least, expected, most = shares
    fixed = sum(cost.default for cost in defaults) + BETWEEN_SECONDS * trials
    middle, low, high = (
        (fixed + rest * share * each) / side_by_side for share in (expected, least, most)
    )
    return _range(low, middle, high, spread)


def confirmation_seconds(
    costs: Sequence[Priced], search: SearchSpec, side_by_side: int, spread: tuple[float, float]
) -> Duration:
    """Finalists to so many seeds in all; one seed of each was the trial itself.

    The best of each strategy comes before the second best of any, so that all kinds of trial are
    among them.
    """
    seeds = max(search.confirmation_seeds - 1, 0)
    each = [0.0 if cost.free else cost.default for cost in costs]
    mean = sum(each) / len(each)
    runs = search.finalists * seeds
    dearer = [seconds for seconds in each if seconds > 0] or each
    cheapest = sorted(each)[: search.finalists]
    cheapest += [min(dearer)] * (search.finalists - len(cheapest))
    least = seeds * sum(cheapest)
    between = BETWEEN_SECONDS * runs
    return _range(
        (least + between) / side_by_side,
        (runs * mean + between) / side_by_side,
        (runs * max(each) + between) / side_by_side,
        spread,
    )


def data_curve_seconds(
    facts: Facts,
    costs: Sequence[Priced],
    course: Course,
    search: SearchSpec,
    side_by_side: int,
    spread: tuple[float, float],
) -> Duration:
    """The winner and its default on parts of the rows, and the default on all of them."""
    seeds, sizes = curve_seeds(search.confirmation_seeds), part_sizes(course.train_rows)
    each = []
    for cost in costs:
        clock = clock_of_default(cost.candidate, facts, course)
        parts = math.fsum(clock.whole(replace(course, train_rows=size)) for size in sizes)
        each.append(2 * seeds * parts + (seeds - 1) * cost.default)
    between = BETWEEN_SECONDS * (2 * seeds * len(sizes) + seeds - 1)
    return _range(
        # The winner may be the default, or the cheapest of all.
        (min(each) / 2 + between) / side_by_side,
        (math.fsum(each) / len(each) + between) / side_by_side,
        (max(each) + between) / side_by_side,
        spread,
    )


def beside_seconds(
    facts: Facts,
    costs: Sequence[Priced],
    course: Course,
    side_by_side: int,
    spread: tuple[float, float],
) -> Duration:
    """The start, and baselines, beside which other workers train."""
    scored = baseline_seconds(facts, costs[0].candidate, course)
    seconds = START_SECONDS + scored / side_by_side
    return _range(seconds, seconds, seconds, spread)


def test_seconds(
    facts: Facts,
    costs: Sequence[Priced],
    course: Course,
    search: SearchSpec,
    side_by_side: int,
    spread: tuple[float, float],
) -> Duration:
    """Baselines, defaults and finalists on the test split."""
    trainings = search.finalists * search.confirmation_seeds
    scoring = sum(cost.scoring + BETWEEN_SECONDS for cost in costs) / len(costs)
    writing = sum(cost.writing for cost in costs) / len(costs)
    # One training of each finalist and default; all of them where answers are compared.
    writers = (trainings if course.answered_rows else search.finalists) + len(costs)
    base = baseline_scoring(facts, costs[0].candidate, course)
    seconds = (base + trainings * scoring + writers * writing) / side_by_side
    return _range(seconds, seconds, seconds, spread)


def own_text(
    facts: Facts, costs: Sequence[Priced], course: Course, spread: tuple[float, float]
) -> Duration | None:
    """General text that the base writes itself; None where no trial needs any."""
    seconds = own_text_seconds(facts, costs, course)
    return _range(seconds, seconds, seconds, spread) if seconds else None


def bill(held: Duration, devices: float, hardware: HardwareFacts) -> dict[str, float]:
    """Cost and energy of all devices while they are held, as ranges; empty if unknown.

    Energy uses each card's power limit, so the true value is likely lower.
    """
    found: dict[str, float] = {}
    low, high = held.low * devices / 3600, held.high * devices / 3600
    if (price := hardware.price_per_gpu_hour) is not None:
        found |= {"cost_low_usd": round(low * price, 2), "cost_high_usd": round(high * price, 2)}
    if hardware.watts is not None:
        kilowatts = hardware.watts / 1000
        found |= {
            "energy_low_kwh": float(f"{low * kilowatts:.3g}"),
            "energy_high_kwh": float(f"{high * kilowatts:.3g}"),
        }
    return found


def download_seconds(facts: Facts) -> Duration | None:
    """Seconds to download weights that the hub's cache lacks; None if it lacks none."""
    wanted = [_stored_bytes(m) for m in facts.models if m.missing == "download"]
    if not wanted:
        return None
    low, middle, high = (8 * sum(wanted) / rate for rate in _BITS_PER_SECOND)
    return Duration(seconds=round(middle, 3), low=round(low, 3), high=round(high, 3))


def conversion_seconds(facts: Facts) -> Duration | None:
    """Seconds to convert packaged models; None if none has to be converted."""
    wanted = [m.parameters for m in facts.models if m.missing == "conversion"]
    if not wanted:
        return None
    low, middle, high = (
        round(sum(wanted) * seconds * factor, 3)
        for seconds, factor in zip(_SECONDS_PER_PARAMETER, _OTHER_MACHINES, strict=True)
    )
    return Duration(seconds=middle, low=low, high=high)


def download_notes(facts: Facts) -> tuple[str, ...]:
    """The assumptions of the download's time, as text; none without a download."""
    wanted = [m for m in facts.models if m.missing == "download"]
    if not wanted:
        return ()
    size = units.gib(sum(map(_stored_bytes, wanted)) / units.GIB)
    slow, fast = _BITS_PER_SECOND[2] / 1e6, _BITS_PER_SECOND[0] / 1e9
    return (
        f"The weights of {', '.join(m.id for m in wanted)} are not on this machine: {size} to "
        f"download, at an assumed {_BITS_PER_SECOND[1] / 1e6:.0f} Mbit/s ({slow:.0f} Mbit/s to "
        f"{fast:.0f} Gbit/s).",
    )


def _stored_bytes(model: ModelFacts) -> float:
    return float(model.parameters * _BYTES.get(model.dtype, 2))
