"""The time of a study: seconds of a trial times counts, with one interval, and fixed parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sweeper import units
from sweeper.facts.record import Facts, ModelFacts
from sweeper.planning.budget.candidate_costs import (
    BETWEEN_SECONDS,
    START_SECONDS,
    Priced,
    baseline_scoring,
    baseline_seconds,
)
from sweeper.planning.costs.corrections import interval_factor
from sweeper.planning.costs.trial_seconds import Workload
from sweeper.plans import Duration
from sweeper.spec import SearchSpec

# What a study's counts add to the interval of a trial: how much of a full budget searched trials
# use, and which strategies are confirmed. In plans of 24 requests, ends that were worked out for
# each phase lay at 0.87 and 1.12 of what the interval of a trial gives, by the median.
_COUNTS = (0.85, 1.15)
# Assumed, since nobody has measured the connection: 100 Mbit/s, from 1 Gbit/s down to 25 Mbit/s.
_BITS_PER_SECOND = (1e9, 1e8, 25e6)
_BYTES = {"float32": 4, "float64": 8, "float8_e4m3fn": 1, "int8": 1}
# packaged:smollm2 (134.5 million parameters, dequantised and written as 540 MB) on two cores took
# 20.5 s, 25.8 s and 36.8 s, the longest with nothing in the file cache. Other disks and processors
# take half or double.
_CONVERSION_SECONDS = tuple(seconds / 134.5e6 for seconds in (0.5 * 20.5, 25.8, 2 * 36.8))


def timing(facts: Facts, costs: Sequence[Priced]) -> tuple[str, ...]:
    """The sources of the plan's times, as text."""
    hardware, wider = facts.hardware, interval_factor(facts, "trial-time")
    learned = [f"{cost.candidate.strategy}: {cost.source}" for cost in costs if cost.source]
    if hardware.calibrated:
        base = f"this machine was calibrated on {hardware.calibrated}"
    elif hardware.device == "cpu":
        base = "this machine is not calibrated: sweeper run does it once, in seconds"
    else:
        base = "the card's data sheet and published measurements of such cards"
    if wider > 1:
        learned.append(
            f"earlier runs here missed such times: the ends are {wider:.2g} times as far"
        )
    return (base, *dict.fromkeys(learned))


@dataclass(frozen=True, slots=True)
class StudyPhases:
    """The time of each phase of a study.

    Args:
        costs: The candidates with the times of their trials, in the plan's order.
        workload: What a trial trains and scores.
        side_by_side: Trials that run at a time.
    """

    facts: Facts
    costs: Sequence[Priced]
    workload: Workload
    search: SearchSpec
    side_by_side: int

    def of_trials(self, trials: int) -> StudyPhases:
        """The phases of a study of so many trials, which has no more finalists than trials."""
        finalists = min(self.search.finalists, trials)
        return replace(self, search=self.search.model_copy(update={"finalists": finalists}))

    def confirming(self, finalists: int, seeds: int) -> StudyPhases:
        """The phases with so many finalists and seeds."""
        update = {"finalists": finalists, "confirmation_seeds": seeds}
        return replace(self, search=self.search.model_copy(update=update))

    def duration(self, seconds: float, uncertainty: float = 1.0) -> Duration:
        """Seconds with the study's interval: the widest of any trial, and that of its counts.

        Args:
            uncertainty: Factor on both ends.
        """
        uncertainty *= interval_factor(self.facts, "sweep-time")
        each = [cost.candidate.duration for cost in self.costs]
        whole = [duration for duration in each if duration.seconds > 0]
        low = (
            min((duration.low / duration.seconds for duration in whole), default=1.0)
            * _COUNTS[0]
            / uncertainty
        )
        high = (
            max((duration.high / duration.seconds for duration in whole), default=1.0)
            * _COUNTS[1]
            * uncertainty
        )
        return Duration(seconds=seconds, low=seconds * low, high=seconds * high)

    def shared(self, seconds: float, jobs: int = 0) -> float:
        """Seconds of jobs that run side by side, with those between two of them."""
        return (seconds + BETWEEN_SECONDS * jobs) / self.side_by_side

    def searching(self, trials: int, share: float) -> float:
        """Defaults of the candidates run in full; the rest is searched and pruned.

        What a baseline has made already costs nothing again, and what holds nothing to search runs
        once.

        Args:
            share: Of a full budget, what a searched trial uses.
        """
        paid = [cost for cost in self.costs if not cost.free]
        defaults = paid[: max(trials // 3, 1)] if paid else []
        searchable = [c for c in paid if any(p.searched for p in c.candidate.parameters.values())]
        done = len(defaults) + len(self.costs) - len(paid)
        rest = max(trials - done, 0) if searchable else 0
        searched = rest * share * _mean([cost.searched for cost in searchable])
        return self.shared(sum(cost.default for cost in defaults) + searched, trials)

    def stages(self, trials: int) -> float:
        """What features do before trials that share it. Each variant is made once."""
        shared = {
            (feature, stage.key): stage
            for cost in self.costs
            for feature, stage in cost.candidate.stages.items()
        }
        return math.fsum(each.seconds * min(each.variants, trials) for each in shared.values())

    def confirmation(self) -> float:
        """Finalists to so many seeds in all; one seed of each was the trial itself."""
        runs = self.search.finalists * max(self.search.confirmation_seeds - 1, 0)
        each = _mean([0.0 if cost.free else cost.default for cost in self.costs])
        return self.shared(runs * each, runs)

    def baselines(self) -> float:
        """The start of the workers, and baselines, beside which other workers train."""
        scored = baseline_seconds(self.facts, self.costs[0].candidate, self.workload)
        return START_SECONDS + self.shared(scored)

    def test(self) -> float:
        """Baselines, defaults and finalists on the test split."""
        costs, search = self.costs, self.search
        trainings = search.finalists * search.confirmation_seeds
        scoring = _mean([cost.scoring + BETWEEN_SECONDS for cost in costs])
        writing = _mean([cost.writing for cost in costs])
        # One training of each finalist and default; all of them where answers are compared.
        writers = (trainings if self.workload.answered_rows else search.finalists) + len(costs)
        base = baseline_scoring(self.facts, costs[0].candidate, self.workload)
        return self.shared(base + trainings * scoring + writers * writing)


def _mean(seconds: Sequence[float]) -> float:
    return sum(seconds) / len(seconds) if seconds else 0.0


def before_workers(facts: Facts) -> dict[str, Duration]:
    """The download of weights that the hub's cache lacks, and the conversion of packaged models."""
    missing = [m for m in facts.models if m.missing == "download"]
    packaged = [m for m in facts.models if m.missing == "conversion"]
    phases = {}
    if missing:
        wanted = sum(map(_stored_bytes, missing))
        phases["download"] = _between(8 * wanted / rate for rate in _BITS_PER_SECOND)
    if packaged:
        parameters = sum(m.parameters for m in packaged)
        phases["conversion"] = _between(parameters * each for each in _CONVERSION_SECONDS)
    return phases


def _between(ends: Iterable[float]) -> Duration:
    low, seconds, high = ends
    return Duration(seconds=seconds, low=low, high=high)


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
