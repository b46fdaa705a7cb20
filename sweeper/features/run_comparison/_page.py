"""The page that shows several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sweeper import __version__, units
from sweeper.features.run_comparison._runs import ComparedRun, Pair, differences
from sweeper.findings import words
from sweeper.reporting.blocks import (
    Column,
    Number,
    Page,
    Section,
    Table,
    placed,
)


def runs_page(runs: Sequence[ComparedRun], found: Sequence[Pair]) -> Page:
    """All runs, which of them can be compared, and what differs between them."""
    fair = sum(not pair.reasons for pair in found)
    names = units.joined([run.name for run in runs])
    return Page(
        title=f"{names}: sweeper comparison",
        name=names,
        verdict="none",
        head=(f"{fair} of {len(found)} comparisons are fair",),
        sections=(
            Section("verdict", "Runs", (_runs(runs),)),
            Section("pairs", "Comparisons", (_pairs(found),)),
            Section("differences", "Differences", (_differ(runs),)),
        ),
        sweeper_version=__version__,
    )


def pair_sentence(pair: Pair, found: Sequence[Pair]) -> str:
    """One comparison in a sentence, or why there is none."""
    first, second = pair.first, pair.second
    if pair.difference is None or pair.outcome is None:
        why = units.joined([*pair.reasons])
        return f"{first.name} and {second.name} cannot be compared: {why}."
    fair = sum(not one.reasons for one in found)
    gap = words.difference(pair.difference, first.metric)
    points = max(run.files.plan.facts.aim.margin_points for run in (first, second))
    word = words.outcome(pair.outcome, pair.difference, fair, points / 100, pair.lacking)
    return f"{first.name} − {second.name} = {gap}: {word}."


def _runs(runs: Sequence[ComparedRun]) -> Table:
    columns: list[Column[ComparedRun]] = [
        Column("run", lambda run: run.name),
        Column("started", lambda run: run.summary.started or words.DASH, unit="UTC"),
        Column("base model", lambda run: ", ".join(run.summary.models)),
        Number("train rows", lambda run: f"{run.files.plan.facts.data.train_rows:,}"),
        Number("trials", lambda run: f"{run.summary.ended} of {run.summary.trials_asked}"),
        Number("training", lambda run: units.duration(run.summary.training_seconds)),
        Column("winner", lambda run: run.winner or f"none yet ({run.summary.status})"),
        Number(
            "test score (95% CI)",
            lambda run: f"{run.metric.title} {words.score_with_interval(run.score(), run.metric)}",
        ),
        Column("best baseline", lambda run: run.baseline.title if run.baseline else words.DASH),
        Number("its test score", _baseline_score),
    ]
    return Table.of(
        "run-table",
        "Each run with its winner on its own test split",
        columns,
        placed(runs),
        note="Scores on different rows cannot be compared, even if they are close.",
    )


def _baseline_score(run: ComparedRun) -> str:
    score = run.score(run.baseline.name) if run.baseline else None
    return words.score_with_interval(score, run.metric)


def _pairs(found: Sequence[Pair]) -> Table:
    columns: list[Column[Pair]] = [
        Column("fair", lambda pair: "no" if pair.reasons else "yes"),
        Column("what it says", lambda pair: pair_sentence(pair, found)),
    ]
    return Table.of(
        "pair-table",
        "The winners of every two runs",
        columns,
        placed(found),
        note="A comparison is fair if task, metric and test rows are the same. Its difference is "
        "over the same items, with the spread between seeds; Holm's correction covers all fair "
        "ones. If the runs differ in several settings, it is not known which of them causes it.",
    )


def _differ(runs: Sequence[ComparedRun]) -> Table:
    found = differences(runs)

    def value(place: int, name: str) -> str:
        return found[name][place] or words.DASH

    columns: list[Column[str]] = [Column("setting", lambda name: name)]
    columns += [Column(run.name, partial(value, place)) for place, run in enumerate(runs)]
    caption = "Settings and facts that are not the same in all runs"
    return Table.of("difference-table", caption, columns, placed(found))
