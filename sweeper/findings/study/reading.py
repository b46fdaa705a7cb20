"""Reads a run's folder into memory.

A sweep may be read while it runs or after it was killed, so that missing or incomplete files of a
trial are no error. Only a run without a plan is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeper.constraints import Limit, is_beyond, limits_of, order, violation
from sweeper.data.examples import SPLITS
from sweeper.errors import SweeperError
from sweeper.execution.state import attempts
from sweeper.execution.state.attempts import ValidationItems
from sweeper.execution.state.second_command import statuses
from sweeper.execution.state.status import Status
from sweeper.findings.study.model_strategy_pairs import by_pair, pair
from sweeper.objective import LOSS, Objective
from sweeper.plans import Plan
from sweeper.runfolder import CONFIG, ENDED, RESULT, RUNGS, WEIGHTS, RunFolder
from sweeper.spec import Spec
from sweeper.specfile import resolve
from sweeper.textfile import read_text
from sweeper.trials import (
    AttemptEnd,
    BaselineResult,
    EncodingNote,
    RungReport,
    State,
    TestSeal,
    TrialConfig,
    TrialResult,
)


@dataclass(frozen=True)
class SeedRun:
    """One ended training of a configuration."""

    seed: int
    result: TrialResult
    items: ValidationItems | None


@dataclass(frozen=True)
class TrialFiles:
    """The files of one trial.

    ``parts`` are (number of rows, training) of trainings on a part of the rows; ``unreadable``
    names a damaged file; ``ended`` are (number, end) of attempts without a result.
    """

    config: TrialConfig
    rungs: tuple[RungReport, ...]
    result: TrialResult | None
    items: ValidationItems | None
    attempts: int
    seeds: tuple[SeedRun, ...]
    weights: Path | None
    parts: tuple[tuple[int, SeedRun], ...] = ()
    unreadable: str = ""
    ended: tuple[tuple[int, AttemptEnd], ...] = ()
    objective: Objective = LOSS

    @property
    def completed(self) -> bool:
        cost = self.objective.cost_of(self.result) if self.result else None
        return self.end == "COMPLETE" and cost is not None and math.isfinite(cost)

    @property
    def end(self) -> State | None:
        """How the trial ended; None if it has not. With a damaged result it has failed."""
        if self.result is None:
            return "FAIL" if self.unreadable else None
        return self.result.state

    @property
    def cost(self) -> float:
        """The objective's cost of a completed trial: the lowest is best."""
        cost = self.objective.cost_of(self.result) if self.result is not None else None
        assert cost is not None
        return cost

    @property
    def value(self) -> float:
        """The objective's value of a completed trial, for people."""
        return self.objective.value(self.cost)

    def trainings(self) -> tuple[SeedRun, ...]:
        """The completed trainings: the trial's own, then its confirmation runs, by seed."""
        runs = list(self.seeds)
        if self.completed and self.result is not None:
            runs = [run for run in runs if run.seed != self.config.seed]
            runs.insert(0, SeedRun(self.config.seed, self.result, self.items))
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
        """The results of the trials, then those of their confirmation runs."""
        own = [trial.result for trial in self.trials if trial.result]
        return own + [seed.result for trial in self.trials for seed in trial.seeds]

    @property
    def best(self) -> TrialFiles:
        """The best of the completed trials."""
        return self.ranked[0]

    @property
    def margin(self) -> float:
        """The smallest difference that matters, in the unit of the metric or the loss.

        A point is a hundredth: of a share for accuracy, of a nat for a loss (one per cent of the
        perplexity), of a bit between base models.
        """
        return self.plan.facts.aim.margin_points / 100

    def violation(self, trial: TrialFiles) -> float | None:
        """By how much a trial exceeds the limits; None if that was not measured."""
        return violation(trial.result.measures, self.limits) if trial.result else None

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
    named = by_pair(plan)
    trials = [_trial(folder, plan, named) for folder in _numbered(run.trials)]
    baselines = [
        baseline
        for path in sorted(run.baselines.glob("*.json"))
        if (baseline := BaselineResult.read_or_none(path)) is not None
    ]
    return RunFiles(
        folder=run,
        plan=named,
        spec_yaml=_text(run.spec),
        spec=spec,
        limits=limits_of(spec) if spec else (),
        trials=tuple(trial for trial in trials if trial is not None),
        baselines=tuple(baselines),
        seal=TestSeal.read_or_none(run.test_seal),
        status=statuses([run]).get(run.path),
        texts=texts,
    )


def _spec(run: RunFolder) -> Spec | None:
    try:
        return resolve({}, run.spec)
    except (SweeperError, OSError):
        return None


def _trial(folder: Path, plan: Plan, named: Plan) -> TrialFiles | None:
    config, objective = TrialConfig.read_or_none(folder / CONFIG), plan.objective
    if config is None:
        return None
    if named is not plan:
        config = config.model_copy(update={"strategy": pair(config.strategy, config.model)})
    result_path = folder / RESULT
    result = TrialResult.read_or_none(result_path)
    attempts = [int(path.name) for path in _numbered(folder / "attempts")]
    return TrialFiles(
        config=config,
        rungs=_rungs(folder / RUNGS),
        result=result,
        items=_items(folder, result, objective),
        objective=objective,
        attempts=max([config.attempt, *attempts]),
        seeds=tuple(_seed_runs(folder / "seeds", objective)),
        parts=tuple(
            (int(part.name), run)
            for part in _numbered(folder / "rows")
            for run in _seed_runs(part, objective)
        ),
        weights=folder / WEIGHTS if (folder / WEIGHTS).is_dir() else None,
        unreadable=RESULT if result is None and result_path.is_file() else "",
        ended=tuple(
            (number, end)
            for number in attempts
            if (end := AttemptEnd.read_or_none(folder / "attempts" / str(number) / ENDED))
        ),
    )


def _seed_runs(folder: Path, objective: Objective) -> Iterator[SeedRun]:
    for path in _numbered(folder):
        result = TrialResult.read_or_none(path / RESULT)
        if result is not None:
            yield SeedRun(int(path.name), result, _items(path, result, objective))


def _items(
    folder: Path, result: TrialResult | None, objective: Objective
) -> ValidationItems | None:
    if result is None or result.item_losses is None:
        return None
    items = attempts.read_items(folder / result.item_losses, objective)
    return None if items is None else items.scored


def _rungs(path: Path) -> tuple[RungReport, ...]:
    """The last report of each rung in the complete lines of ``rungs.jsonl``, in order of rungs."""
    by_rung = {report.rung: report for report in RungReport.read_lines(path)}
    return tuple(by_rung[rung] for rung in sorted(by_rung))


def _numbered(folder: Path) -> list[Path]:
    folders = [path for path in folder.glob("*") if path.name.isdecimal() and path.is_dir()]
    return sorted(folders, key=lambda path: int(path.name))


def _text(path: Path) -> str:
    try:
        return read_text(path, errors="replace")
    except OSError:
        return ""


def encoding_notes(run: RunFiles) -> tuple[EncodingNote, ...]:
    """The notes of tokenising without duplicates, split by split.

    Notes on the test split exist after it was opened.
    """
    notes = [note for trial in run.trials if trial.result for note in trial.result.notes]
    notes += [note for score in (run.seal.scores if run.seal else ()) for note in score.notes]
    once = dict.fromkeys(notes)
    return tuple(sorted(once, key=lambda note: (SPLITS.index(note.split), note.kind)))
