"""Reads a run's folder into memory, and says why trials lack a loss or used smaller batches.

A sweep may be read while it runs or after it was killed, so that missing or incomplete files of a
trial are not errors. Only a run without a plan is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import InstanceOf

from sweeper.data.examples import SPLITS
from sweeper.errors import SweeperError
from sweeper.execution.state.attempts import ValidationItems, read_items
from sweeper.execution.state.continuation import statuses
from sweeper.execution.state.status import ENDED as ENDED_PHASES
from sweeper.execution.state.status import Status
from sweeper.findings import words
from sweeper.findings.study.model_strategy_pairs import strategy_on_model, with_strategies_on_models
from sweeper.objective import LOSS, Limit, Objective, is_beyond, limits_of, order, violation
from sweeper.plans import Plan
from sweeper.runfolder import CONFIG, ENDED, RESULT, RUNGS, WEIGHTS, RunFolder
from sweeper.safe_text import clean
from sweeper.spec import Spec
from sweeper.specfile import resolve
from sweeper.textfiles import read_text
from sweeper.trials import (
    AttemptEnd,
    BaselineResult,
    EncodingNote,
    Failure,
    RungReport,
    State,
    TestSeal,
    Trial,
    TrialConfig,
    TrialResult,
    so_far,
)

# Maximum number of characters of an error in a table; the log in the run folder has all of it.
MAX_DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class SeedRun:
    """One ended training of a configuration, with its scores on validation items."""

    result: TrialResult
    items: ValidationItems | None


class TrialFiles(Trial):
    """A trial, with data from its folder that ``report.json`` leaves out.

    ``seeds`` are its confirmation runs. ``parts`` are pairs (number of rows, training), for
    trainings on a part of the rows.
    """

    items: InstanceOf[ValidationItems] | None = None
    seeds: tuple[InstanceOf[SeedRun], ...] = ()
    parts: tuple[tuple[int, InstanceOf[SeedRun]], ...] = ()
    objective: Objective = LOSS

    @property
    def cost(self) -> float:
        """The cost of a completed trial by the objective; the lowest is best."""
        assert self.value is not None
        return self.objective.cost(self.value)

    def trainings(self) -> tuple[SeedRun, ...]:
        """The completed trainings: the trial's own, then its confirmation runs, by seed."""
        runs = list(self.seeds)
        if self.completed:
            runs = [run for run in runs if run.result.seed != self.config.seed]
            runs.insert(0, SeedRun(self.result, self.items))
        return tuple(run for run in runs if run.result.state == "COMPLETE")


@dataclass(frozen=True, eq=False)
class RunFiles:
    """The files of one run.

    ``spec`` is the request of the last command, ``status`` its progress; None if they cannot be
    read. ``limits`` may change from command to command.
    ``texts`` says whether rows and answers may be shown.
    """

    folder: RunFolder
    plan: Plan
    spec_yaml: str
    trials: tuple[TrialFiles, ...]
    baselines: tuple[BaselineResult, ...]
    seal: TestSeal | None
    status: Status | None
    spec: Spec | None = None
    limits: tuple[Limit, ...] = ()
    texts: bool = True

    @property
    def ranked(self) -> tuple[TrialFiles, ...]:
        """The completed trials, best first; those within the limits come before the others."""

        def place(trial: TrialFiles) -> tuple[tuple[bool, float, float], int]:
            return order(trial.cost, self.violation(trial)), trial.config.number

        return tuple(sorted((trial for trial in self.trials if trial.completed), key=place))

    @property
    def results(self) -> list[TrialResult]:
        """The results of the ended trials, then of all confirmation runs."""
        own = [trial.result for trial in self.trials if trial.ended]
        return own + [seed.result for trial in self.trials for seed in trial.seeds]

    @property
    def best(self) -> TrialFiles:
        """The best of the completed trials."""
        return self.ranked[0]

    @property
    def margin(self) -> float:
        """The smallest difference that matters, in the unit of the metric or the loss.

        ``margin_points`` are hundredths of this unit: percentage points of a score, 0.01 nats of a
        loss, or 0.01 bits per byte if base models are compared.
        """
        return self.plan.facts.aim.margin_points / 100

    def violation(self, trial: TrialFiles) -> float | None:
        """By how much a trial exceeds the limits; None if no limited measure was measured."""
        return violation(trial.result.measures, self.limits)

    def is_within(self, trial: TrialFiles) -> bool:
        """Whether a trial is within the limits, as far as measured."""
        return not is_beyond(self.violation(trial))

    def trial(self, number: int) -> TrialFiles | None:
        return next((t for t in self.trials if t.config.number == number), None)


def read_run(run: RunFolder, *, texts: bool = True) -> RunFiles:
    """Read a run folder.

    Raises:
        UsageError: There is no plan, or a newer sweeper wrote it.
    """
    spec = _spec(run)
    plan = Plan.read(run.plan)
    status = statuses([run]).get(run.path)  # interrupted if its process is gone
    unfinished: State = "RUNNING" if status and status.phase not in ENDED_PHASES else "WAITING"
    trials = [_trial(folder, plan, unfinished) for folder in _numbered(run.trials)]
    baselines = [
        baseline
        for path in sorted(run.baselines.glob("*.json"))
        if (baseline := BaselineResult.read_or_none(path)) is not None
    ]
    return RunFiles(
        folder=run,
        plan=with_strategies_on_models(plan),
        spec_yaml=_text(run.spec),
        spec=spec,
        limits=limits_of(spec) if spec else (),
        trials=tuple(trial for trial in trials if trial is not None),
        baselines=tuple(baselines),
        seal=TestSeal.read_or_none(run.test_seal),
        status=status,
        texts=texts,
    )


def _spec(run: RunFolder) -> Spec | None:
    try:
        return resolve({}, run.spec)
    except (SweeperError, OSError):
        return None


def _trial(folder: Path, plan: Plan, unfinished: State) -> TrialFiles | None:
    """The trial in a folder, with the state ``unfinished`` if it has no result yet."""
    config, objective = TrialConfig.read_or_none(folder / CONFIG), plan.objective
    if config is None:
        return None
    config = config.model_copy(update={"strategy": strategy_on_model(plan, config)})
    attempt_numbers = [int(path.name) for path in _numbered(folder / "attempts")]
    ends = {
        number: end
        for number in attempt_numbers
        if (end := AttemptEnd.read_or_none(folder / "attempts" / str(number) / ENDED))
    }
    rungs = tuple(RungReport.read_lines(folder / RUNGS))
    result = _result(folder, config, rungs, unfinished)
    return TrialFiles(
        config=config,
        rungs=rungs,
        result=_cleaned_result(result, folder, objective),
        items=_items(folder, result, objective),
        objective=objective,
        attempts=max([config.attempt, *attempt_numbers]),
        ended_attempts=tuple(
            f"{n}: {end.kind} ({_short_detail(end.detail)})" for n, end in ends.items()
        ),
        seeds=tuple(_seed_runs(folder / "seeds", objective)),
        parts=tuple(
            (int(part.name), run)
            for part in _numbered(folder / "rows")
            for run in _seed_runs(part, objective)
        ),
    )


def _result(
    folder: Path, config: TrialConfig, rungs: tuple[RungReport, ...], unfinished: State
) -> TrialResult:
    """The stored result, a failure if it is damaged, or the work so far if there is none."""
    path = folder / RESULT
    if (result := TrialResult.read_or_none(path)) is not None:
        return result
    damage = Failure(kind="error", detail=f"{RESULT} is damaged and was not read")
    failure = damage if path.is_file() else None
    state: State = "FAIL" if failure else unfinished
    names = {"number": config.number, "attempt": config.attempt, "seed": config.seed}
    return TrialResult(**names, state=state, failure=failure, **so_far(rungs))


def _cleaned_result(result: TrialResult, folder: Path, objective: Objective) -> TrialResult:
    """A result with finite figures, the value by which trials are compared, and short errors."""
    value, failure = finite_value(objective.measured(result)), result.failure
    has_value = result.state == "COMPLETE" and value is not None
    update = {
        "validation_loss": finite_value(result.validation_loss) if has_value else None,
        "objective": value if has_value else None,
        "metrics": finite_metrics(result.metrics),
        "validation_by_source": finite_metrics(result.validation_by_source),
        "peak_memory_gib": finite_value(result.peak_memory_gib),
        "failure": failure and failure.model_copy(update={"detail": _short_detail(failure.detail)}),
        "weights": f"trials/{folder.name}/weights" if (folder / WEIGHTS).is_dir() else None,
    }
    return result.model_copy(update=update)


def _short_detail(detail: str) -> str:
    return clean(detail)[:MAX_DETAIL_CHARACTERS]


def _seed_runs(folder: Path, objective: Objective) -> Iterator[SeedRun]:
    for path in _numbered(folder):
        result = TrialResult.read_or_none(path / RESULT)
        if result is not None:
            yield SeedRun(result, _items(path, result, objective))


def _items(folder: Path, result: TrialResult, objective: Objective) -> ValidationItems | None:
    if result.item_losses is None:
        return None
    items = read_items(folder / result.item_losses, objective)
    # Dropped examples (see ``EncodingNote``) are not scored.
    return None if items is None else items.scored


def _numbered(folder: Path) -> list[Path]:
    """The folders in a folder whose names are numbers, in numerical order."""
    folders = [path for path in folder.glob("*") if path.name.isdecimal() and path.is_dir()]
    return sorted(folders, key=lambda path: int(path.name))


def _text(path: Path) -> str:
    """The text of a file; empty if it cannot be read."""
    try:
        return read_text(path, errors="replace")
    except OSError:
        return ""


def encoding_notes(run: RunFiles) -> tuple[EncodingNote, ...]:
    """All distinct notes on tokenising, ordered by split.

    Notes on the test split exist only after it was opened.
    """
    notes = [note for trial in run.trials for note in trial.result.notes]
    notes += [note for score in (run.seal.scores if run.seal else ()) for note in score.notes]
    unique = dict.fromkeys(notes)
    return tuple(sorted(unique, key=lambda note: (SPLITS.index(note.split), note.kind)))


def memory_note(trial: Trial) -> str:
    """The change of batches after running out of memory; empty if there was none."""
    config, result = trial.config, trial.result
    notes = [config.memory_note] if config.memory_note else []
    for name, used, planned in (
        ("micro-batch", result.micro_batch, config.setup.micro_batch),
        ("evaluation batch", result.evaluation_batch, config.setup.evaluation_batch),
    ):
        if used is not None and used < planned:
            notes.append(f"memory ran out at {name} {planned}, tried again down to {used}")
    return "; ".join(notes)


def loss_note(trial: Trial) -> str:
    """Why a trial has no validation loss; empty if it has one."""
    state, rung, failure = trial.result.state, trial.result.pruned_at_rung, trial.result.failure
    place = f" at rung {rung} of {trial.config.budget.rungs}" if rung is not None else ""
    return {
        "COMPLETE": "" if trial.completed else "the loss was not a finite number",
        "PRUNED": f"pruned{place}: no final loss",
        "FAIL": words.failure(failure.kind) if failure else "failed",
        "RUNNING": "still training",
        "WAITING": "interrupted, to be continued",
    }[state]


def used_full_budget(trial: Trial, rungs: int) -> bool:
    """Whether a trial completed and was trained up to the last rung of the plan's full budget.

    False if its own budget is smaller, or if it stopped early because it overfitted.

    Args:
        rungs: Number of rungs of the full budget.
    """
    return trial.completed and bool(trial.rungs) and trial.rungs[-1].rung >= rungs


def finite_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics with finite values, in the order of their names."""
    return {name: value for name, value in sorted(metrics.items()) if math.isfinite(value)}


def finite_value(value: float | None) -> float | None:
    """The value, or None if it is not finite."""
    return value if value is not None and math.isfinite(value) else None
