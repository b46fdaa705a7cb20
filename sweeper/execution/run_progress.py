"""Computes the ``Status`` of a run from its events and state, and decides on optional phases."""

from __future__ import annotations

import math
import os
import socket
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sweeper import units
from sweeper.artifact import now
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.status import ENDED, Eta, Event, OptionalPhase, Phase, Status
from sweeper.objective import cost_within
from sweeper.plans import Budget, Plan
from sweeper.search.search import useful_total
from sweeper.search.study_end import NEXT, Outlook, outlook
from sweeper.trials import TrialConfig, TrialResult

# Time that workers get to stop. The report gets as much, so that a run ends within ten seconds of
# the first Ctrl-C. Workers are stopped this long before the end of a budget.
STOP_SECONDS = 5.0
# Minimum ended trials for an estimate of the remaining time, since one trial shows no spread.
MIN_ENDED_TRIALS = 2
# Phases before the run, whose seconds count towards the user's budget.
_SETUP_PHASES = ("download", "conversion")
# Minimum relative error of the estimate. In three sweeps, confirmation and test took up to 25% less
# time than predicted.
_MIN_ERROR = 0.15


class TrialTime(NamedTuple):
    """The time of one ended trial.

    Args:
        factor: Measured over predicted seconds, for the same share of a budget.
        seconds: Measured seconds, including set-up.
        is_default: Whether it is a default of the rule book, which is never pruned.
    """

    factor: float
    seconds: float
    is_default: bool


def time_of(plan: Plan, config: TrialConfig, result: TrialResult) -> TrialTime | None:
    """The time of a trial; None if it failed or made no steps, as with a frozen model."""
    seconds = result.training_seconds + result.evaluation_seconds
    rung = result.pruned_at_rung or result.stopped_at_rung or config.budget.rungs
    share = config.budget.epochs / plan.budget.epochs * rung / config.budget.rungs
    planned = plan.candidate(config.strategy, config.model).duration.seconds * share
    if result.state == "FAIL" or not result.optimizer_steps or seconds <= 0 or planned <= 0:
        return None
    return TrialTime(seconds / planned, seconds + result.setup_seconds, config.origin == "default")


def _seconds_of_later_phases(budget: Budget, phase: Phase, share: float) -> float:
    """Predicted seconds of the phases after the search and confirmation that are not over.

    They are the test split and the features' phases.

    Args:
        phase: The current phase.
        share: Share of its jobs that are not done.
    """
    seconds = {"test": budget.phases["test"].seconds} | {
        name: cost.seconds for name, cost in budget.later.items() if cost.planned or name == phase
    }
    if phase not in seconds:
        return math.fsum(seconds.values())
    names = list(seconds)
    later_names = names[names.index(phase) + 1 :]
    return share * seconds[phase] + math.fsum(seconds[name] for name in later_names)


def decide_phase(
    budget: Budget, feature: str, seconds: float, left: Mapping[str, float]
) -> OptionalPhase:
    """Decide whether an optional phase is run.

    Args:
        feature: Name of the feature whose phase it is.
        seconds: Maximum seconds that the phase takes.
        left: Seconds left under each limit, by the limit in words, such as ``of the budget``.
    """
    cost, longest = budget.features[feature], units.duration(seconds)
    limit, left_seconds = min(left.items(), key=lambda item: item[1])
    unlimited = budget.limit_seconds is None
    made = left_seconds >= seconds and (cost.planned or not unlimited)
    remaining = units.duration(max(left_seconds, 0.0))
    why = f"{remaining} were left {limit}, and it takes up to {longest}"
    if unlimited and made == cost.planned:
        cheap = "is cheap" if made else "is not cheap"
        why = f"it takes up to {longest}, which {cheap} compared with the search"
    return OptionalPhase(made=made, text=f"{'a' if made else 'no'} {cost.title} was made: {why}")


_HOST = socket.gethostname()
_END_EVENTS = ("trial-ended", "trial-put-back", "job-ended", "job-put-back", "worker-ended")


@dataclass
class RunProgress:
    """Collects the data of a ``Status``, and continues the status of an earlier command.

    Args:
        total: Number of trials of the search.
        phases: Seconds of each phase that this command has already completed.
        message: Warnings, one on each line.
        search_ended: Why the search ended before its last trial, if it did.
        running: The start of each trial or job under way with its last figures, by worker.
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
    running: dict[str, Event] = field(default_factory=dict)
    _phase_jobs: int = 0
    _had_work: bool = False
    _beat: int = 0
    _times: dict[int, TrialTime | None] = field(default_factory=dict)
    _trials_counted: int = -1
    _confirmation_seconds: float = 0.0
    _outlook: Outlook | None = None

    def __post_init__(self) -> None:
        self.plan = self.state.plan
        self._begun = self._entered = time.monotonic()
        new_status = Status(phase=self.phase, trials=self.total, started_at=now(), updated_at=now())
        earlier = Status.read_or_none(self.state.run.status) or new_status
        self.started_at, self.earlier_seconds = earlier.started_at, earlier.seconds
        self.phases |= earlier.phases
        self.ending, self.optional_phases = earlier.ending, dict(earlier.optional_phases)

    def enter(self, phase: Phase) -> None:
        """Enter a phase; the seconds since the last call belong to the previous phase."""
        entered = time.monotonic()
        seconds = self.phases.get(self.phase, 0.0) + entered - self._entered
        self.phases[self.phase] = round(seconds, 3)
        self.phase, self._entered = phase, entered
        self._phase_jobs = self.jobs - self.jobs_done

    def update(self, event: Event) -> None:
        """Update ``running`` after an event."""
        if event.kind in ("trial-started", "job-started"):
            self._had_work = True
            self.running[event.worker] = event
        elif event.kind in _END_EVENTS:
            self.running.pop(event.worker, None)
        elif event.kind in ("rung", "progress") and event.worker in self.running:
            figures = event.model_dump(exclude_unset=True, exclude={"kind", "at"})
            update = {"text": "", "done": None, "of": None} | figures
            self.running[event.worker] = self.running[event.worker].model_copy(update=update)

    @property
    def waiting(self) -> int:
        """Number of trials of the search that have not begun; 0 after its end."""
        if self.ending is not None:
            return 0
        running = sum(not job.job for job in self.running.values())
        return max(0, self.total - len(self.state.results) - running)

    def status(self, *, ended: bool = False) -> Status:
        """The status now; ``ended`` if the command ends."""
        self._beat += 1
        counts = self.state.state_counts
        self._update_from_trials()
        return Status.taken_from(
            self,
            objective=self.plan.objective,
            trials=self.total,
            complete=counts["COMPLETE"],
            pruned=counts["PRUNED"],
            failed=counts["FAIL"],
            out_of_memory=self.state.out_of_memory,
            running=() if ended else tuple(self.running.values()),
            best=self.state.best,
            default=self.state.best_default,
            eta=None if ended else self.eta(self.waiting + len(self.running) / 2),
            outlook=self._outlook,
            updated_at=now(),
            ended_at=now() if ended else "",
            seconds=self._seconds(ended=ended),
            process=None if ended else os.getpid(),
            host=_HOST,
            beat=self._beat,
        )

    def decide_phase(self, feature: str, seconds: float, deadline: float) -> OptionalPhase:
        """Decide whether an optional phase is run; the status says why.

        Args:
            feature: Name of the feature whose phase it is.
            seconds: Maximum seconds that the phase takes.
            deadline: Time at which the command must stop, on the monotonic clock.
        """
        budget = self.plan.budget
        required_seconds = [cost.seconds for cost in budget.later.values() if not cost.optional]
        seconds_by_limit = {"of the budget": self.seconds_left - math.fsum(required_seconds)}
        seconds_to_deadline = deadline - time.monotonic()
        # A later deadline is that of the budget, which is counted already.
        if seconds_to_deadline < self.seconds_left - STOP_SECONDS - 1:
            seconds_by_limit["until the time limit"] = seconds_to_deadline
        decision = decide_phase(budget, feature, seconds, seconds_by_limit)
        self.optional_phases[feature] = decision
        return decision

    @property
    def seconds_left(self) -> float:
        """Seconds left of the user's budget; infinite without one."""
        limit = self.plan.budget.limit_seconds
        setup_seconds = math.fsum(self.phases.get(name, 0.0) for name in _SETUP_PHASES)
        return math.inf if limit is None else limit - setup_seconds - self._seconds(ended=False)

    def seconds_with_one_more(self) -> float:
        """Maximum seconds until the run ends if one more trial is run; 0 while unknown."""
        eta = self.eta(len(self.running) + 1)
        return 0.0 if eta is None else eta.high

    def _seconds(self, *, ended: bool) -> float:
        # A command without work does not lengthen a finished run.
        idle = ended and self.earlier_seconds and not self._had_work
        own = 0.0 if idle else time.monotonic() - self._begun
        return round(self.earlier_seconds + own, 3)

    def _update_from_trials(self) -> None:
        """Update the times of trials and the outlook if a trial has ended since the last call."""
        results, configs = self.state.results, self.state.configs
        if self._trials_counted == len(results):
            return
        self._trials_counted = len(results)
        for number in results.keys() & configs.keys() - self._times.keys():
            self._times[number] = time_of(self.plan, configs[number], results[number])
        self._confirmation_seconds = self._finalist_seconds()
        if not self.plan.objective.is_loss:
            return  # the outlook's statistics were recorded for losses
        if useful_total(self.plan, self.total + NEXT) < self.total + NEXT:
            return  # nothing is left to search
        seconds = [trial.seconds for trial in self._trial_times]
        objective, limits = self.plan.objective, self.state.limits
        losses = [cost_within(trial, objective, limits) for _, trial in sorted(results.items())]
        self._outlook = outlook(losses, seconds, self.workers)

    @property
    def _trial_times(self) -> list[TrialTime]:
        return [trial for trial in self._times.values() if trial is not None]

    def eta(self, trials_left: float) -> Eta | None:
        """Seconds until the run ends, from the plan and the times of ended trials.

        None before two trials have ended, and after the run. The interval is plus or minus two
        standard errors of the difference between the mean times of ended and remaining trials, or
        30% if that is more.

        Args:
            trials_left: Trials left in the search; a running trial counts half.
        """
        budget, trials, phase = self.plan.budget, self._trial_times, self.phase
        if len(trials) < MIN_ENDED_TRIALS or phase in ENDED:
            return None
        searching, jobs_left = phase in ("baselines", "search"), self.jobs - self.jobs_done
        search_trials = trials_left if searching else 0.0
        runs_after_search = budget.finalists * max(budget.confirmation_seeds - 1, 0)
        confirming = jobs_left if phase == "confirmation" else 0
        runs = runs_after_search if searching else confirming
        searched = [trial.seconds for trial in trials if not trial.is_default]
        all_seconds = [trial.seconds for trial in trials]
        sample = searched if len(searched) >= MIN_ENDED_TRIALS else all_seconds
        mean, factor = statistics.fmean(sample), statistics.fmean(trial.factor for trial in trials)
        training = (search_trials * mean + runs * self._confirmation_seconds) / max(1, self.workers)
        share = min(1.0, jobs_left / max(self._phase_jobs, 1))
        later_seconds = factor * _seconds_of_later_phases(budget, phase, share)
        counts = [len(sample), *([max(search_trials + runs, 1.0)] if search_trials + runs else [])]
        error = (
            statistics.stdev(sample) / mean * math.sqrt(math.fsum(1 / count for count in counts))
        )
        middle, spread = training + later_seconds, 2 * max(_MIN_ERROR, error)
        return Eta(low=middle * max(0.0, 1 - spread), high=middle * (1 + spread))

    def _finalist_seconds(self) -> float:
        """Mean seconds of the current finalists; 0 without any."""
        seconds = [self.state.results[number].seconds for number in self.state.finalists()]
        return statistics.fmean(seconds) if seconds else 0.0
