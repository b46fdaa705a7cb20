"""Seconds of a study's phases as ranges, from the download of weights to the test split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweeper import units
from sweeper.facts.record import Facts, HardwareFacts, ModelFacts
from sweeper.planning.budget.candidate_costs import (
    BETWEEN_SECONDS,
    START_SECONDS,
    Priced,
    baseline_scoring,
    baseline_seconds,
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
        f"{candidate.strategy}: {note}" for candidate in candidates for note in candidate.time_notes
    ]
    if hardware.calibrated:
        base = f"this machine was calibrated on {hardware.calibrated}"
    elif hardware.device == "cpu":
        base = "this machine is not calibrated: sweeper run does it once, in seconds"
    else:
        base = "the card's data sheet and published measurements of such cards"
    return (base, *dict.fromkeys(learned))


def together(*phases: Duration | None) -> Duration:
    """The sum of ranges; low ends are added to low ends, since one machine runs all phases."""
    parts = [phase for phase in phases if phase is not None]
    return Duration(
        seconds=sum(part.seconds for part in parts),
        low=sum(part.low for part in parts),
        high=sum(part.high for part in parts),
    )


@dataclass(frozen=True, slots=True)
class StudyPhases:
    """The time of each phase of a study.

    Args:
        costs: The candidates with the times of their trials, in the plan's order.
        course: What a trial trains and scores.
        side_by_side: Trials that run at a time.
    """

    facts: Facts
    costs: Sequence[Priced]
    course: Course
    search: SearchSpec
    side_by_side: int

    def of_trials(self, trials: int) -> StudyPhases:
        """The phases of a study of so many trials, which has no more finalists than trials."""
        finalists = min(self.search.finalists, trials)
        return replace(self, search=self.search.model_copy(update={"finalists": finalists}))

    @property
    def spread(self) -> tuple[float, float]:
        """The widest range of any candidate, as factors of its expected seconds."""
        each = [cost.candidate.duration for cost in self.costs]
        whole = [one for one in each if one.seconds > 0]
        if not whole:
            return 1.0, 1.0
        return min(d.low / d.seconds for d in whole), max(d.high / d.seconds for d in whole)

    def range(self, least: float, middle: float, most: float) -> Duration:
        """Seconds with the uncertainty of the candidates' times."""
        low, high = self.spread
        return Duration(seconds=middle, low=min(least, middle) * low, high=max(most, middle) * high)

    def shared(self, least: float, middle: float, most: float, between: float = 0.0) -> Duration:
        """Seconds of trials that run side by side, with those between two of them."""
        ends = [(seconds + between) / self.side_by_side for seconds in (least, middle, most)]
        return self.range(*ends)

    def searching(self, trials: int, shares: tuple[float, float, float]) -> Duration:
        """Defaults of the candidates run in full; the rest is searched and pruned.

        What a baseline has made already costs nothing again, and what holds nothing to search runs
        once.

        Args:
            shares: Of a full budget, what a searched trial uses at least, by expectation and at
                most.
        """
        defaults, searchable, rest = self._trained(trials)
        each = sum(c.searched for c in searchable) / len(searchable) if searchable else 0.0
        fixed = sum(cost.default for cost in defaults)
        ends = [fixed + rest * share * each for share in shares]
        return self.shared(ends[0], ends[1], ends[2], BETWEEN_SECONDS * trials)

    def _trained(self, trials: int) -> tuple[list[Priced], list[Priced], int]:
        """Candidates whose defaults are trained, those that are searched, and trials of these."""
        paid = [cost for cost in self.costs if not cost.free]
        defaults = paid[: max(trials // 3, 1)] if paid else []
        searchable = [c for c in paid if any(p.searched for p in c.candidate.parameters.values())]
        done = len(defaults) + len(self.costs) - len(paid)
        return defaults, searchable, max(trials - done, 0) if searchable else 0

    def unlearned(self, trials: int, default: float, searched: float, finalist: float) -> float:
        """Seconds of search and confirmation if nothing can be learned, so that trials end early.

        Args:
            default: Share of a full budget after which a default ends.
            searched: The same of a searched trial.
            finalist: The same of the shortest trial that completes: then it is as good as any.
        """
        defaults, searchable, rest = self._trained(trials)
        each = sum(c.default for c in searchable) / len(searchable) if searchable else 0.0
        seconds = default * sum(cost.default for cost in defaults) + rest * searched * each
        seconds = (seconds + BETWEEN_SECONDS * trials) / self.side_by_side
        return seconds + self.confirmation(finalist).seconds

    def stages(self, trials: int) -> Duration | None:
        """What features do before trials that share it; None where no trial needs any.

        Each variant is made once, and the search may not choose all of them.
        """
        shared = {
            (feature, stage.key): stage
            for cost in self.costs
            for feature, stage in cost.candidate.stages.items()
        }
        if not shared:
            return None
        each = [(stage.duration, min(stage.variants, trials)) for stage in shared.values()]
        low = math.fsum(one.low for one, _ in each)
        middle = math.fsum(one.seconds * many for one, many in each)
        high = math.fsum(one.high * many for one, many in each)
        return Duration(seconds=middle, low=low, high=high)

    def confirmation(self, share: float = 1.0) -> Duration:
        """Finalists to so many seeds in all; one seed of each was the trial itself.

        The best of each strategy comes before the second best of any, so that all kinds of trial
        are among them.

        Args:
            share: Of a full budget, what a finalist uses.
        """
        seeds = max(self.search.confirmation_seeds - 1, 0)
        each = [0.0 if cost.free else share * cost.default for cost in self.costs]
        runs = self.search.finalists * seeds
        dearer = [seconds for seconds in each if seconds > 0] or each
        cheapest = sorted(each)[: self.search.finalists]
        cheapest += [min(dearer)] * (self.search.finalists - len(cheapest))
        mean = sum(each) / len(each)
        least, most = seeds * sum(cheapest), runs * max(each)
        return self.shared(least, runs * mean, most, BETWEEN_SECONDS * runs)

    def beside(self) -> Duration:
        """The start, and baselines, beside which other workers train."""
        scored = baseline_seconds(self.facts, self.costs[0].candidate, self.course)
        seconds = START_SECONDS + scored / self.side_by_side
        return self.range(seconds, seconds, seconds)

    def test(self) -> Duration:
        """Baselines, defaults and finalists on the test split."""
        costs, search = self.costs, self.search
        trainings = search.finalists * search.confirmation_seeds
        scoring = sum(cost.scoring + BETWEEN_SECONDS for cost in costs) / len(costs)
        writing = sum(cost.writing for cost in costs) / len(costs)
        # One training of each finalist and default; all of them where answers are compared.
        writers = (trainings if self.course.answered_rows else search.finalists) + len(costs)
        base = baseline_scoring(self.facts, costs[0].candidate, self.course)
        seconds = base + trainings * scoring + writers * writing
        return self.shared(seconds, seconds, seconds)


def bill(held: Duration, devices: float, hardware: HardwareFacts) -> dict[str, float]:
    """Hours of all devices while they are held, with cost and energy where these are known.

    Energy uses each card's power limit, so the true value is likely lower.
    """
    low, hours, high = (one * devices / 3600 for one in (held.low, held.seconds, held.high))
    found = {"gpu_hours": round(hours, 4)}
    if (price := hardware.price_per_gpu_hour) is not None:
        costs = {"cost_low_usd": low, "cost_usd": hours, "cost_high_usd": high}
        found |= {name: round(each * price, 2) for name, each in costs.items()}
    if hardware.watts is not None:
        kilowatts = hardware.watts / 1000
        found |= {
            "energy_low_kwh": float(f"{low * kilowatts:.3g}"),
            "energy_high_kwh": float(f"{high * kilowatts:.3g}"),
        }
    return found


def download_seconds(facts: Facts) -> Duration | None:
    """Seconds to download weights that the hub's cache lacks; None if it lacks none."""
    wanted = sum(_stored_bytes(m) for m in facts.models if m.missing == "download")
    low, middle, high = (8 * wanted / rate for rate in _BITS_PER_SECOND)
    return Duration(seconds=middle, low=low, high=high) if wanted else None


def conversion_seconds(facts: Facts) -> Duration | None:
    """Seconds to convert packaged models; None if none has to be converted."""
    wanted = sum(m.parameters for m in facts.models if m.missing == "conversion")
    low, middle, high = (
        wanted * seconds * factor
        for seconds, factor in zip(_SECONDS_PER_PARAMETER, _OTHER_MACHINES, strict=True)
    )
    return Duration(seconds=middle, low=low, high=high) if wanted else None


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
