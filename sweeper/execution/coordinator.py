"""``run_sweep``: the phases of a run, from restoring earlier trials to features after the test.

The command may be killed at any moment: its state can be restored from the run's folder.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sweeper.backend import TORCH_BACKEND
from sweeper.errors import NoTrialCompleted, SweeperError
from sweeper.execution import disk
from sweeper.execution.disk import disk_budget
from sweeper.execution.interruption import counted_signals
from sweeper.execution.job import Briefing, WorkItem
from sweeper.execution.next_attempt import configure
from sweeper.execution.owner import Owner, Stopped
from sweeper.execution.pools.local_pool import LocalPool
from sweeper.execution.pools.placement import demand_of, machine_of, place
from sweeper.execution.pools.pool import Pool
from sweeper.execution.run_progress import STOP_SECONDS, RunProgress
from sweeper.execution.state import repair, seal, work_items
from sweeper.execution.state.attempts import attempt_folder, attempts_of
from sweeper.execution.state.run_state import RunState
from sweeper.execution.state.status import Event, Status
from sweeper.features import parts
from sweeper.objective import limits_of
from sweeper.packages import install_command, needed_for
from sweeper.plans import Plan
from sweeper.runfolder import CONFIG, RESULT, RUNGS, RunFolder
from sweeper.search import study_end
from sweeper.search.finalists import seeds_dominate
from sweeper.search.search import Search, first_trials, useful_total
from sweeper.spec import Spec
from sweeper.trials import RungReport, TestSeal, TrialConfig, TrialResult
from sweeper.units import duration, plural

# Errors that are ignored while a failed run is stopped.
_IGNORED_WHILE_FAILING = (disk.NoRoom, OSError, Stopped)

OutcomeKind = Literal["complete", "interrupted", "timeout", "none-completed"]


@dataclass(frozen=True)
class RunOutcome:
    """How a command ended.

    ``none-completed``: all trials ended and none of them completed. ``signal`` is the number of the
    signal that interrupted the run, if any.
    """

    kind: OutcomeKind
    status: Status
    signal: int | None = None

    @property
    def exit_code(self) -> int:
        if self.signal is not None:
            return 128 + self.signal
        return NoTrialCompleted.exit_code if self.kind == "none-completed" else 0


def run_sweep(
    run: RunFolder,
    spec: Spec,
    plan: Plan,
    *,
    backend: str = TORCH_BACKEND,
    before: Mapping[str, float] | None = None,
    on_event: Callable[[Event, Status], None] = lambda _event, _status: None,
    on_trial_end: Callable[[], None] = lambda: None,
    on_tick: Callable[[], None] = lambda: None,
) -> RunOutcome:
    """Run or resume a sweep to its end.

    Args:
        run: The run's folder; the caller holds its lock and has checked the identity.
        spec: The user's request; ``search.trials`` is the total number of trials.
        backend: ``module:function`` of the training backend.
        before: Seconds of each phase that this command completed before the call.
        on_event: Called with each event and the status after it.
        on_trial_end: Called when findings and report are out of date: after trials have ended, at
            the start of a command that resumes a run, and at the end. Must return at once.
        on_tick: Called several times a second. Must return at once.

    Raises:
        RunError: Workers end again and again without progress, or the disk is full.
        NoTrialCompleted: Workers end without progress before any trial completed.
    """
    if not run.plan.is_file():
        plan.write(run.plan)
    repair.cut_incomplete_line(run.events)
    state = RunState(run, plan, limits_of(spec))
    affordable = spec.search.trials if plan.budget.limit_seconds is None else plan.budget.trials
    total = useful_total(plan, min(spec.search.trials, affordable))
    with counted_signals() as signals:
        briefing = Briefing(spec=parts.without_passwords(spec), backend=backend)
        pool, reason = pool_for(run, spec, plan, briefing)
        progress = RunProgress(state, total, plan.workers(spec.search), dict(before or {}))
        seconds = min(spec.search.timeout_seconds or math.inf, progress.seconds_left - STOP_SECONDS)
        owner = Owner(
            state=state,
            search=Search(
                plan,
                tuple(first_trials(plan, total)),
                spec.search.sampler,
                spec.search.pruner,
                limits=state.limits,
            ),
            pool=pool,
            progress=progress,
            signals=signals,
            on_event=on_event,
            on_trial_end=on_trial_end,
            on_tick=on_tick,
            deadline=time.monotonic() + seconds,
            least_bytes=disk_budget(plan, plan.workers(spec.search)).least,
        )
        if reason:
            owner.warn(reason)
        return Coordinator(run, spec, plan, owner).run_all()


def pool_for(run: RunFolder, spec: Spec, plan: Plan, briefing: Briefing) -> tuple[Pool, str]:
    """The pool that the spec names, without workers yet.

    Returns:
        The pool, and why it has fewer workers than requested; empty if it has all.

    Raises:
        RunError: The pool cannot work here.
        NotInstalled: A package that it needs is missing.
    """
    executor, workers = spec.search.executor, plan.workers(spec.search)
    if executor == "local":
        environments, note = place(workers, machine_of(plan), demand_of(plan))
        return LocalPool(run, briefing, environments), note
    flag = f"--executor {executor}"
    with needed_for("This executor", install_command(executor), flag):
        return parts.CONNECT.of(executor)(run, spec, plan, briefing)


@dataclass
class Coordinator:
    """Runs the phases of one ``run_sweep``. Features' phases get it as their ``parts.Study``."""

    run: RunFolder
    spec: Spec
    plan: Plan
    owner: Owner
    seal: TestSeal = field(init=False)
    _trials_at_decision: int = -1

    @property
    def total(self) -> int:
        return self.owner.progress.total

    def run_all(self) -> RunOutcome:
        """Run all phases in order. Ends all workers, also after an error."""
        try:
            return self._phases()
        except (disk.NoRoom, OSError) as error:
            self.owner.require_folder()
            if not disk.no_room(error):
                self._fail(error)
                raise
            disk_full = disk.full_error(self.run.path, self.owner.least_bytes)
            self._fail(disk_full)
            raise disk_full from error
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self.owner.pool.close()

    def _phases(self) -> RunOutcome:
        try:
            self._prepare()
            self._search()
            if self.owner.state.best is None:
                return self._end("none-completed")
            self._confirm_and_test()
            self._feature_phases()
        except Stopped:
            self.owner.stop_workers()
            if self.owner.signals.count:
                return self._end("interrupted")
            if self.owner.progress.seconds_left <= STOP_SECONDS:
                self.owner.warn("the budget is spent; give a larger one to continue")
            return self._end("timeout")
        return self._end("complete")

    def _fail(self, error: BaseException) -> None:
        """End the run after an error: stop all workers, and write the status if possible."""
        message = error.problems[0].what if isinstance(error, SweeperError) else repr(error)
        self.owner.progress.failed_because = message
        with contextlib.suppress(*_IGNORED_WHILE_FAILING):
            self.owner.stop_workers()
        with contextlib.suppress(*_IGNORED_WHILE_FAILING):
            self.owner.kill_workers()
        with contextlib.suppress(*_IGNORED_WHILE_FAILING):
            self.owner.give_up()

    def _prepare(self) -> None:
        """Restore the trials and baselines of earlier commands, and queue unfinished trials."""
        owner = self.owner
        for baseline in repair.baselines(self.run).values():
            if baseline is not None:
                owner.learn(baseline)
        repaired: list[str] = []
        unfinished = restore(owner.state, owner.search, repaired.append)
        owner.progress.total = max(self.total, len(owner.state.configs))
        owner.state.drop_other_weights()
        owner.add(work_items.trial(number) for number in unfinished)
        done = len(owner.state.results)
        budget = disk_budget(self.plan, owner.progress.workers)
        need = budget.sentence(self.run.path)
        owner.say("run-started", text=f"{done} of {self.total} trials have ended; {need}")
        for text in repaired:
            owner.warn(text)
        for proposed in self.plan.proposed:
            owner.say("proposed-trial", text=proposed.text)
        self._warn_of_total()
        if done:  # the report is of an earlier command, which may have had another total
            owner.on_trial_end()

    def _warn_of_total(self) -> None:
        """Warn if the total is not the requested number of trials."""
        if self.total < self.spec.search.trials:
            budget = self.plan.budget
            limited_by_budget = budget.limit_seconds is not None and self.total == budget.trials
            reason = "every configuration of the space will have run by then"
            self.owner.warn(
                f"{plural(self.total, 'trial')} instead of {self.spec.search.trials}: "
                f"{'the budget allows no more' if limited_by_budget else reason}"
            )
        if self.total > self.spec.search.trials:
            self.owner.warn(
                f"{plural(self.total, 'trial has', 'trials have')} begun already, so the total "
                f"stays at {self.total}, not {self.spec.search.trials}"
            )

    def _search(self) -> None:
        """Score the baselines and run the trials."""
        owner = self.owner
        for name in repair.damaged_baselines(self.run):
            owner.warn(f"baselines/{name}.json was damaged, and is made again")
        owner.add([work_items.BASELINES], first=True)
        owner.set_phase(
            "search" if work_items.is_done(self.run, work_items.BASELINES) else "baselines"
        )
        earlier = owner.progress.ending
        if earlier is not None and not study_end.still_ends(earlier, self.spec.search):
            owner.progress.ending = None
        owner.may_ask = self._search_continues
        owner.work_until(lambda: not owner.open_items and not owner.askable)
        owner.may_ask = lambda: False
        if not repair.baselines(self.run):
            owner.warn("there are no baselines to compare with: scoring them failed")
        for name in repair.damaged_baselines(self.run):
            owner.warn(f"baselines/{name}.json is damaged, and no model of that name was scored")

    def _search_continues(self) -> bool:
        """Whether the search may ask for more trials; decided again after trials have ended."""
        owner = self.owner
        ended = len(owner.state.results)
        if owner.progress.ending is None and ended != self._trials_at_decision:
            owner.progress.ending = study_end.decide(owner.search, self.spec.search)
            owner.progress.ending = owner.progress.ending or self._budget_ending()
        is_new_decision, self._trials_at_decision = self._trials_at_decision != ended, ended
        if owner.progress.ending is None:
            return True
        if is_new_decision:
            trials_begun, why = len(owner.state.configs), owner.progress.ending.because
            text = f"the search ends after {trials_begun} of {self.total} trials: {why}"
            if text != owner.progress.search_ended:
                owner.progress.search_ended = text
                owner.say("search-ended", text=text)
                owner.write_status()
        return False

    def _budget_ending(self) -> study_end.Ending | None:
        """The ending of the search if the budget is too small for one more trial."""
        seconds_left = self.owner.progress.seconds_left
        seconds_needed = self.owner.progress.seconds_with_one_more()
        if seconds_needed <= seconds_left:
            return None
        because = (
            f"{duration(max(seconds_left, 0.0))} are left of the budget, and one more trial with "
            f"confirmation and test takes up to {duration(seconds_needed)}"
        )
        return study_end.Ending(kind="budget", because=because, total=self.spec.search.trials)

    def _confirm_and_test(self) -> None:
        """Train the finalists with further seeds, store the choice, and score the test split."""
        owner = self.owner
        if not self.run.test_seal.exists():
            owner.set_phase("confirmation")
            finalists, seeds = owner.state.finalists(), seal.seeds_of(self.plan)
            planned = self.plan.budget.confirmation_seeds - 1
            self._train_again(finalists, seeds[:planned])
            if extra_seeds := seeds[planned:]:
                trained = [seal.trainings(self.run, self.plan, number) for number in finalists]
                if seeds_dominate(trained):
                    self._train_again(finalists, extra_seeds)
            seal.store_choice(self.run, self.plan, finalists, owner.state.limits)
        test_seal = seal.read_seal(self.run)
        if test_seal.complete:
            self._warn_of_late_trials(test_seal)
            return
        owner.set_phase("test")
        items = seal.scoring_work(self.run, self.plan, test_seal, owner.state)
        owner.add(items)
        owner.work_until(lambda: not owner.open_items)
        seal.store_scores(self.run, test_seal, items)
        seal.drop_seed_weights(self.run, self.plan, test_seal)

    def _train_again(self, numbers: Sequence[int], seeds: Sequence[int]) -> None:
        """Train each of these trials with each of these seeds."""
        self.owner.add(work_items.confirm(number, seed) for number in numbers for seed in seeds)
        self.owner.work_until(lambda: not self.owner.open_items)

    def _feature_phases(self) -> None:
        """Run the features' phases."""
        self.seal = seal.read_seal(self.run)
        for name, phase in parts.AFTER_TEST.all():
            try:
                phase(self)
            except (SweeperError, Stopped, OSError):
                raise
            except Exception as error:  # noqa: BLE001 - a bug in a feature only costs its own figures
                self.owner.warn(parts.failure(name, error))

    def _warn_of_late_trials(self, test_seal: TestSeal) -> None:
        """Warn if trials would be finalists that ended after the test split was opened."""
        if set(self.owner.state.finalists()) - set(test_seal.order):
            self.owner.warn(
                f"the test split was scored once, at {test_seal.opened_at}: later trials are "
                "compared on validation only"
            )

    @property
    def configs(self) -> Mapping[int, TrialConfig]:
        return self.owner.state.configs

    @property
    def results(self) -> Mapping[int, TrialResult]:
        return self.owner.state.results

    @property
    def workers(self) -> int:
        return self.owner.progress.workers

    def train(self, feature: str, items: Sequence[WorkItem]) -> None:
        decision = self.owner.progress.optional_phases.get(feature)
        if decision is not None and not decision.made:  # this command asks for it explicitly
            del self.owner.progress.optional_phases[feature]
        self.owner.add(items)
        self.owner.set_phase(feature)
        self.owner.work_until(lambda: not self.owner.open_items)

    def warn(self, text: str) -> None:
        self.owner.warn(text)

    def fits(self, feature: str, seconds: float) -> bool:
        decision = self.owner.progress.decide_phase(feature, seconds, self.owner.deadline)
        if decision.made or self.plan.budget.limit_seconds is not None:
            self.owner.say("optional-phase", text=decision.text)
        return decision.made

    def _end(self, kind: OutcomeKind) -> RunOutcome:
        """Stop the workers, and write the last status."""
        self.owner.stop_workers()
        status = self.owner.end(kind)
        return RunOutcome(kind, status, self.owner.signals.number)


def restore(state: RunState, search: Search, say: Callable[[str], None]) -> list[int]:
    """Restore all trials of earlier commands from the run's files.

    A damaged result or configuration is restored from its attempt's copy. A trial without a
    readable configuration is asked for again, and trained from its beginning.

    Args:
        say: Called with a sentence about each damaged file.

    Returns:
        Numbers of the trials that were begun and have not ended.
    """
    run, plan = state.run, state.plan
    unfinished: list[int] = []
    numbers = (int(path.name) for path in run.trials.glob("*") if path.name.isdecimal())
    for number in range(1 + max(numbers, default=-1)):
        config = _config(run, number)
        if config is None:
            if (run.trial(number) / CONFIG).exists():
                say(f"trial {number}: {CONFIG} was damaged, and the trial is trained again")
            for path in run.trial(number).glob(f"**/{RESULT}"):
                path.unlink()  # its configuration is unknown
            state.configs[number] = configure(plan, search.ask())
            unfinished.append(number)
            continue
        state.configs[number] = config
        result = _result(run, number, say)
        if result is None:
            search.restore(config)
            unfinished.append(number)
            continue
        search.restore(config, RungReport.read_lines(run.trial(number) / RUNGS), result)
        state.results[number] = result
    return unfinished


def _config(run: RunFolder, number: int) -> TrialConfig | None:
    """A trial's configuration, restored from its newest readable copy; None if there is none."""
    home = run.trial(number)
    copies = (attempt_folder(home, attempt) for attempt in reversed(attempts_of(home)))
    for folder in (home, *copies):
        if (config := TrialConfig.read_or_none(folder / CONFIG)) is not None:
            if folder is not home:
                config.write(home / CONFIG)
            return config
    return None


def _result(run: RunFolder, number: int, say: Callable[[str], None]) -> TrialResult | None:
    """A trial's result, restored from its attempt's copy if damaged; None if it has not ended."""
    path = run.trial(number) / RESULT
    damaged = path.exists() and TrialResult.read_or_none(path) is None
    work_items.end_open_attempt(run, work_items.trial(number))
    result = TrialResult.read_or_none(path)
    if result is not None and damaged:
        say(f"trial {number}: {RESULT} was damaged and has been restored from its attempt's copy")
    return result
