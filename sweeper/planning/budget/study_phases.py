"""The time of a study: seconds per trial times counts, with one interval, and fixed parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sweeper import units
from sweeper.facts.record import Facts, ModelFacts
from sweeper.planning.budget.candidate_costs import (
    BETWEEN_SECONDS,
    START_SECONDS,
    TimedCandidate,
    baseline_scoring,
    baseline_seconds,
)
from sweeper.planning.costs.corrections import interval_factor
from sweeper.planning.costs.trial_seconds import Workload
from sweeper.plans import Duration
from sweeper.spec import SearchSpec

# Factors on the interval of a trial, for the uncertainty of a study's counts: the share of a full
# budget that searched trials use, and the strategies that are confirmed. In plans of 24 requests,
# exact ends per phase were 0.87 and 1.12 of those from a trial's interval, in the median.
_COUNT_FACTORS = (0.85, 1.15)
# Assumed speeds of an unmeasured connection: 100 Mbit/s, from 1 Gbit/s down to 25 Mbit/s.
_BITS_PER_SECOND = (1e9, 1e8, 25e6)
_BYTES_BY_DTYPE = {"float32": 4, "float64": 8, "float8_e4m3fn": 1, "int8": 1}
# Low, usual and high seconds per parameter. packaged:smollm2 (134.5 million parameters, written as
# 540 MB) took 20.5 s, 25.8 s and, with a cold file cache, 36.8 s on two cores. Other machines may
# take half or double.
_CONVERSION_SECONDS = tuple(seconds / 134.5e6 for seconds in (0.5 * 20.5, 25.8, 2 * 36.8))

#: The software that times assume.
STACK = "transformers and PEFT without torch.compile"


def timing(facts: Facts, costs: Sequence[TimedCandidate]) -> tuple[str, ...]:
    """Texts on the sources of the plan's times."""
    hardware, wider = facts.hardware, interval_factor(facts, "trial-time")
    learned = [f"{cost.candidate.strategy}: {cost.source}" for cost in costs if cost.source]
    if hardware.calibrated:
        base = f"this machine was calibrated on {hardware.calibrated}"
    elif hardware.device == "cpu":
        base = "this machine is not calibrated: sweeper run does it once, in seconds"
    else:
        base = f"the card's data sheet and published runs on such cards, with {STACK}"
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
        workload: Tokens and items of a trial.
        side_by_side: Number of parallel trials.
    """

    facts: Facts
    costs: Sequence[TimedCandidate]
    workload: Workload
    search: SearchSpec
    side_by_side: int

    def with_trials(self, trials: int) -> StudyPhases:
        """The phases with at most ``trials`` finalists."""
        finalists = min(self.search.finalists, trials)
        return replace(self, search=self.search.model_copy(update={"finalists": finalists}))

    def with_confirmation(self, finalists: int, seeds: int) -> StudyPhases:
        """The phases with other numbers of finalists and seeds."""
        update = {"finalists": finalists, "confirmation_seeds": seeds}
        return replace(self, search=self.search.model_copy(update=update))

    def duration(self, seconds: float, uncertainty: float = 1.0) -> Duration:
        """Seconds with the study's interval: the widest of any trial, widened for its counts.

        Args:
            uncertainty: Factor by which both ends are widened.
        """
        uncertainty *= interval_factor(self.facts, "sweep-time")
        each = [cost.candidate.duration for cost in self.costs if cost.candidate.duration.seconds]
        low = min((duration.low / duration.seconds for duration in each), default=1.0)
        high = max((duration.high / duration.seconds for duration in each), default=1.0)
        low, high = low * _COUNT_FACTORS[0] / uncertainty, high * _COUNT_FACTORS[1] * uncertainty
        return Duration(seconds=seconds, low=seconds * low, high=seconds * high)

    def parallel(self, seconds: float, jobs: int = 0) -> float:
        """Seconds on the clock of jobs that take ``seconds`` in a row, with time between jobs."""
        return (seconds + BETWEEN_SECONDS * jobs) / self.side_by_side

    def searching(self, trials: int, share: float) -> float:
        """Seconds of the search: defaults run in full, other trials are pruned.

        Trials that equal a baseline cost nothing, and candidates with nothing to search run once.

        Args:
            share: Share of a full budget that a searched trial uses.
        """
        paid = [cost for cost in self.costs if not cost.free]
        defaults = paid[: max(trials // 3, 1)] if paid else []
        searchable = [c for c in paid if any(p.searched for p in c.candidate.parameters.values())]
        done = len(defaults) + len(self.costs) - len(paid)
        rest = max(trials - done, 0) if searchable else 0
        searched = rest * share * _mean([cost.searched for cost in searchable])
        return self.parallel(sum(cost.default for cost in defaults) + searched, trials)

    def stages(self, trials: int) -> float:
        """Seconds of the features' stages, such as continued pretraining; each variant is made
        once."""
        stages = {
            (feature, stage.key): stage
            for cost in self.costs
            for feature, stage in cost.candidate.stages.items()
        }
        return math.fsum(each.seconds * min(each.variants, trials) for each in stages.values())

    def confirmation(self) -> float:
        """Seconds of the confirmation runs; the trial itself is one of the seeds."""
        runs = self.search.finalists * max(self.search.confirmation_seeds - 1, 0)
        each = _mean([0.0 if cost.free else cost.default for cost in self.costs])
        return self.parallel(runs * each, runs)

    def baselines(self) -> float:
        """Seconds of the workers' start, and of baselines divided by the parallel trials."""
        scored = baseline_seconds(self.facts, self.costs[0].candidate, self.workload)
        return START_SECONDS + self.parallel(scored)

    def test(self) -> float:
        """Seconds of baselines, defaults and finalists on the test split."""
        costs, search = self.costs, self.search
        trainings = search.finalists * search.confirmation_seeds
        scoring = _mean([cost.scoring + BETWEEN_SECONDS for cost in costs])
        answering = _mean([cost.answering for cost in costs])
        # Answers of one training per finalist and default; of all if the objective needs answers.
        answered = (trainings if self.workload.answered_rows else search.finalists) + len(costs)
        base = baseline_scoring(self.facts, costs[0].candidate, self.workload)
        return self.parallel(base + trainings * scoring + answered * answering)


def _mean(seconds: Sequence[float]) -> float:
    return sum(seconds) / len(seconds) if seconds else 0.0


def before_workers(facts: Facts) -> dict[str, Duration]:
    """Durations of downloads and conversions that are still to do, by phase."""
    missing = [m for m in facts.models if m.missing == "download"]
    packaged = [m for m in facts.models if m.missing == "conversion"]
    phases = {}
    if missing:
        wanted = sum(map(_stored_bytes, missing))
        phases["download"] = _duration(8 * wanted / rate for rate in _BITS_PER_SECOND)
    if packaged:
        parameters = sum(m.parameters for m in packaged)
        phases["conversion"] = _duration(parameters * each for each in _CONVERSION_SECONDS)
    return phases


def _duration(ends: Iterable[float]) -> Duration:
    low, seconds, high = ends
    return Duration(seconds=seconds, low=low, high=high)


def download_notes(facts: Facts) -> tuple[str, ...]:
    """A note on the assumptions of the download's time; none without a download."""
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
    return float(model.parameters * _BYTES_BY_DTYPE.get(model.dtype, 2))
