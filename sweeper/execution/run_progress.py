"""From events and the run's state to ``status.json``: work, progress, remaining time."""

from __future__ import annotations

import math
import os
import socket
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sweeper import units
from sweeper.constraints import excess, is_beyond
from sweeper.execution.state.events import Event, now
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.status import ENDED, Eta, OptionalPhase, Phase, Running, Status
from sweeper.plans import Budget, Plan
from sweeper.search.search import useful_total
from sweeper.search.study_end import NEXT, Outlook, outlook
from sweeper.trials import TrialConfig, TrialResult

# Before two trials have ended there is nothing to correct the plan with.
FEWEST = 2
# In two sweeps confirmation and test took up to a fifth less or more than the search foretold.
_LEAST_ERROR = 0.1


@dataclass(frozen=True)
class Pace:
    """Times of ended trials against the plan's.

    Args:
        factor: Their seconds over those that the plan gives for as much of a budget.
        error: Standard error of the factor's logarithm.
        trial: Seconds of one trial of the search, pruned ones among them.
        spread: Standard deviation of that.
        trials: How many of them have been seen.
        apart: Standard deviation of the seconds of all ended trials.
    """

    factor: float
    error: float
    trial: float
    spread: float
    trials: int
    apart: float


@dataclass(frozen=True)
class Took:
    """What one ended trial took.

    Args:
        log_factor: Logarithm of its seconds over those that the plan gives for as much of a budget.
        seconds: With what came before its first step.
        default: It is one of the rule book's, which are never pruned.
    """

    log_factor: float
    seconds: float
    default: bool


def pace(
    plan: Plan,
    results: Mapping[int, TrialResult],
    configs: Mapping[int, TrialConfig],
    known: dict[int, Took | None] | None = None,
) -> Pace | None:
    """The pace of ended trials; None below two.

    A frozen model's trial is left out: its features were made for a baseline.

    Args:
        known: What earlier calls worked out of each trial; takes what this one does.
    """
    known = {} if known is None else known
    for number, result in results.items():
        if number not in known and number in configs:
            known[number] = _took(plan, configs[number], result)
    trials = [one for one in known.values() if one is not None]
    if len(trials) < FEWEST:
        return None
    factor, deviation = _mean([one.log_factor for one in trials])
    error = deviation / math.sqrt(len(trials))
    searched = [one.seconds for one in trials if not one.default]
    if len(searched) < FEWEST:
        searched = [one.seconds for one in trials]
    trial, spread = _mean(searched)
    apart = _mean([one.seconds for one in trials])[1]
    return Pace(math.exp(factor), error, trial, spread, len(searched), apart)


def _took(plan: Plan, config: TrialConfig, result: TrialResult) -> Took | None:
    if result.state == "FAIL" or not result.optimizer_steps:
        return None
    seconds = result.training_seconds + result.evaluation_seconds
    planned = _planned(plan, config, result)
    if seconds <= 0 or planned <= 0:
        return None
    whole = seconds + result.setup_seconds
    return Took(math.log(seconds / planned), whole, config.origin == "default")


def _mean(numbers: Sequence[float]) -> tuple[float, float]:
    """With its standard deviation."""
    return statistics.fmean(numbers), statistics.stdev(numbers)


def _planned(plan: Plan, config: TrialConfig, result: TrialResult) -> float:
    whole: Iterable[float] = (
        candidate.duration.seconds
        for candidate in plan.candidates
        if (candidate.strategy, candidate.model) == (config.strategy, config.model)
    )
    rung = result.pruned_at_rung or result.stopped_at_rung or config.budget.rungs
    share = config.budget.epochs / plan.budget.epochs * rung / config.budget.rungs
    return next(iter(whole), 0.0) * share


def remaining(
    plan: Plan,
    seen: Pace | None,
    *,
    phase: Phase,
    trials_left: float,
    jobs_left: int,
    jobs: int,
    workers: int,
    again: float,
) -> Eta | None:
    """Seconds until the run ends, with all later phases, within two standard errors.

    Args:
        trials_left: Trials left in the search; a running one counts half.
        jobs_left: Confirmation runs or test scores that are not done.
        jobs: Those that were not done when the phase began.
        again: Seconds of one training of those that are confirmed, on average.
    """
    if seen is None or phase in ENDED:
        return None
    budget, searching = plan.budget, phase in ("baselines", "search")
    left = trials_left if searching else 0.0
    runs = budget.finalists * max(budget.confirmation_seeds - 1, 0)
    runs = runs if searching else min(runs, jobs_left) if phase == "confirmation" else 0
    # The mean of those that are left differs from the mean of those that were seen.
    apart = 2 * seen.spread * math.sqrt(1 / seen.trials + 1 / max(left, 1.0))
    off, side_by_side = math.exp(2 * max(seen.error, _LEAST_ERROR)), max(1, workers)
    low, high = (left * max(0.0, seen.trial + sign * apart) / side_by_side for sign in (-1, 1))
    # The finalists may be trials that are still to come, and that end earlier or later.
    share = left / (left + seen.trials)
    unsure = 2 * seen.apart * math.sqrt(share / max(budget.finalists, 1))
    least, most = (runs * max(0.0, again + sign * unsure) / side_by_side for sign in (-1, 1))
    later = seen.factor * _after(budget, phase, min(1.0, jobs_left / max(jobs, 1)))
    return Eta(low=low + (least + later) / off, high=high + (most + later) * off)


def fits(budget: Budget, feature: str, seconds: float, left: Mapping[str, float]) -> OptionalPhase:
    """Whether an optional phase is made.

    Args:
        seconds: That it takes at most.
        left: Seconds that are left, by what limits them in words.
    """
    cost, most = budget.features[feature], units.duration(seconds)
    unmade, made = f"no {cost.title} was made", f"a {cost.title} was made"
    if budget.limit_seconds is None and not cost.planned:
        text = f"{unmade}: it takes up to {most}, not cheap compared with the search"
        return OptionalPhase(made=False, text=text)
    limit, least = min(left.items(), key=lambda one: one[1])
    rest = f"{units.duration(max(least, 0.0))} were left {limit}"
    if least < seconds:
        return OptionalPhase(made=False, text=f"{unmade}: {rest}, and it takes up to {most}")
    if budget.limit_seconds is None:
        text = f"{made}, as planned: it is cheap compared with the search"
        return OptionalPhase(made=True, text=text)
    return OptionalPhase(made=True, text=f"{made}: {rest}, and it takes at most {most}")


def _after(budget: Budget, phase: Phase, share: float) -> float:
    """The plan's seconds for the test split and features' phases.

    Args:
        share: Of the phase's jobs that are left.
    """
    test = budget.test or budget.beside
    scoring = test.seconds if test is not None else 0.0
    later = {name: cost.duration.seconds for name, cost in budget.later.items() if cost.planned}
    if phase in budget.later:
        whole = budget.later[phase].duration.seconds
        names = list(budget.later)
        rest = (later.get(name, 0.0) for name in names[names.index(phase) + 1 :])
        return share * whole + math.fsum(rest)
    return scoring * (share if phase == "test" else 1.0) + math.fsum(later.values())


_HOST = socket.gethostname()
_FREED = ("trial-ended", "trial-put-back", "job-ended", "job-put-back", "worker-ended")


@dataclass
class RunProgress:
    """The data from which a status is made; goes on from that of earlier calls, if there is one.

    Args:
        phases: Seconds of each phase that this command has done already.
    """

    state: RunState
    total: int
    workers: int = 1
    phases: dict[str, float] = field(default_factory=dict)
    phase: Phase = "baselines"
    message: str = ""
    failed_because: str = ""
    search_ended: str = ""
    jobs: int = 0
    jobs_done: int = 0
    optional_phases: dict[str, OptionalPhase] = field(default_factory=dict, init=False)
    running: dict[str, Running] = field(default_factory=dict)
    _begun: float = field(default_factory=time.monotonic)
    _entered: float = field(default_factory=time.monotonic)
    _phase_jobs: int = 0
    _worked: bool = False
    _beat: int = 0
    _pace: Pace | None = None
    _took: dict[int, Took | None] = field(default_factory=dict)
    _paced: int = -1
    _again: float = 0.0
    _outlook: Outlook | None = None

    def __post_init__(self) -> None:
        self.plan = self.state.plan
        begun = Status(phase=self.phase, trials=self.total, started_at=now(), updated_at=now())
        earlier = Status.read_or_none(self.state.run.status) or begun
        self.started_at, self.earlier_seconds = earlier.started_at, earlier.seconds
        self.phases |= earlier.phases
        self.ending, self.optional_phases = earlier.ending, dict(earlier.optional_phases)

    def enter(self, phase: Phase) -> None:
        """Go on to a phase; the seconds since the last call belong to the one before."""
        clock = time.monotonic()
        took = self.phases.get(self.phase, 0.0) + clock - self._entered
        self.phases[self.phase] = round(took, 3)
        self.phase, self._entered = phase, clock
        self._phase_jobs = self.jobs - self.jobs_done

    def hear(self, event: Event, median: float | None = None) -> None:
        """Take an event into account.

        Args:
            median: For a rung, the median loss of the candidate's other trials there.
        """
        if event.kind in ("trial-started", "job-started"):
            self._worked = True
            self.running[event.worker] = Running(
                worker=event.worker,
                job=event.job,
                trial=event.trial,
                attempt=event.attempt or 1,
                strategy=event.strategy,
                parameters=event.parameters,
                rungs=event.rungs or 0,
                since=event.at,
            )
        elif event.kind in _FREED:
            self.running.pop(event.worker, None)
        elif event.worker in self.running and event.kind == "rung":
            self._update(
                event.worker,
                rung=event.rung,
                rungs=event.rungs,
                optimizer_steps=event.optimizer_steps,
                validation_loss=event.validation_loss,
                objective=event.objective,
                strategy=event.strategy,
                median_here=median,
                doing="",
            )
        elif event.worker in self.running and event.kind == "progress":
            self._update(event.worker, doing=event.text, done=event.done, of=event.of)

    def _update(self, worker: str, **fields: object) -> None:
        self.running[worker] = self.running[worker].model_copy(update=fields)

    @property
    def waiting(self) -> int:
        if self.ending is not None:
            return 0
        running = sum(not one.job for one in self.running.values())
        return max(0, self.total - len(self.state.results) - running)

    def status(self, *, ended: bool = False) -> Status:
        self._beat += 1
        counts = self.state.ended_in
        self._look_at_trials()
        return Status(
            phase=self.phase,
            objective=self.plan.objective,
            trials=self.total,
            complete=counts["COMPLETE"],
            pruned=counts["PRUNED"],
            failed=counts["FAIL"],
            out_of_memory=self.state.out_of_memory,
            waiting=self.waiting,
            running=() if ended else tuple(self.running.values()),
            best=self.state.best,
            default=self.state.best_default,
            jobs=self.jobs,
            jobs_done=self.jobs_done,
            eta=None if ended else self._eta(),
            outlook=self._outlook,
            started_at=self.started_at,
            updated_at=now(),
            ended_at=now() if ended else "",
            seconds=self._seconds(ended=ended),
            phases=dict(self.phases),
            process=None if ended else os.getpid(),
            host=_HOST,
            beat=self._beat,
            message=self.message,
            failed_because=self.failed_because,
            search_ended=self.search_ended,
            optional_phases=dict(self.optional_phases),
            ending=self.ending,
        )

    def fits(self, feature: str, seconds: float, deadline: float) -> OptionalPhase:
        """Whether an optional phase is made; the status says why.

        Args:
            deadline: When the call must stop, on the monotonic clock.
        """
        budget = self.plan.budget
        left = {"until the time limit": deadline - time.monotonic()}
        if budget.limit_seconds is not None:
            asked = [one.duration.seconds for one in budget.later.values() if not one.optional]
            used = self._seconds(ended=False) + math.fsum(asked)
            left["of the budget"] = budget.limit_seconds - used
        self.optional_phases[feature] = decided = fits(budget, feature, seconds, left)
        return decided

    def _seconds(self, *, ended: bool) -> float:
        # A call that found nothing to do does not make a finished run longer.
        idle = ended and self.earlier_seconds and not self._worked
        own = 0.0 if idle else time.monotonic() - self._begun
        return round(self.earlier_seconds + own, 3)

    def _look_at_trials(self) -> None:
        """Work out pace and outlook, once for each trial that has ended."""
        if self._paced == len(self.state.results):
            return
        self._paced = len(self.state.results)
        self._pace = pace(self.plan, self.state.results, self.state.configs, self._took)
        if self._pace is not None:
            self._again = self._seconds_of_best()
        if not self.plan.objective.is_loss:
            return  # what chance makes of two trials was recorded for losses
        if useful_total(self.plan, self.total + NEXT) < self.total + NEXT:
            return  # nothing is left to search
        took = [one.seconds for one in self._took.values() if one is not None]
        results = [self.state.results[number] for number in sorted(self.state.results)]
        self._outlook = outlook([self._final(one) for one in results], took, self.workers)

    def _final(self, result: TrialResult) -> float | None:
        """The final loss of a completed trial within the limits."""
        beyond = is_beyond(excess(result.measures, self.state.limits))
        done = not beyond and result.state == "COMPLETE"
        return self.plan.objective.cost_of(result) if done else None

    def _eta(self) -> Eta | None:
        return remaining(
            self.plan,
            self._pace,
            phase=self.phase,
            trials_left=self.waiting + len(self.running) / 2,
            jobs_left=self.jobs - self.jobs_done,
            jobs=self._phase_jobs,
            workers=self.workers,
            again=self._again,
        )

    def _seconds_of_best(self) -> float:
        """Mean seconds of the trials that would be confirmed now."""
        best = self.state.finalists(self.plan.budget.finalists)
        took = [one.seconds for one in (self.state.results[number] for number in best)]
        return statistics.fmean(took) if took else 0.0
