"""The page that shows several runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sweeper import __version__, units
from sweeper.features.run_comparison._runs import ComparedRun, Pair, board, differences
from sweeper.findings import words
from sweeper.reporting.blocks import (
    Column,
    Figure,
    Number,
    Page,
    Section,
    Table,
    VerdictCard,
    with_pointers,
)
from sweeper.reporting.charts.forest import forest
from sweeper.reporting.page import TERMS

# Comparisons on the first screen; the table has all of them.
_PAIRS = 5


def runs_page(runs: Sequence[ComparedRun], every_two: Sequence[Pair]) -> Page:
    """All runs on one plot, which of them can be compared, and what differs between them."""
    names = units.joined([run.name for run in runs])
    differing = differences(runs)
    fair = [pair for pair in every_two if not pair.reasons]
    comparisons = f"{len(fair)} of {len(every_two)} are fair."
    return Page(
        title=f"{names}: sweeper comparison",
        name=names,
        verdict="none",
        head=(f"{units.plural(len(runs), 'run')}", f"comparisons: {comparisons.rstrip('.')}"),
        sections=(
            Section("verdict", "Which run", (_card(runs, every_two),)),
            Section("pairs", "Comparisons", (_pairs(every_two),), comparisons),
            Section(
                "differences",
                "Differences",
                (_differ(runs, differing),),
                f"{units.plural(len(differing), 'setting differs', 'settings differ')}.",
            ),
        ),
        sweeper_version=__version__,
        terms=TERMS,
    )


def _card(runs: Sequence[ComparedRun], every_two: Sequence[Pair]) -> VerdictCard:
    """The first screen of a report, for several runs."""
    first = next((pair for pair in every_two if not pair.reasons), every_two[0])
    models = board(runs, every_two)
    plot = forest(models, models.caption)
    note = "Hollow: baseline. Bracket: a winner that cannot be told apart from another one."
    caption = f"{models.caption}."
    figure = Figure("forest", caption, note, (plot,), tables=(_runs(runs),)) if plot else None
    lead, _, rest = pair_sentence(first).partition(": ")
    return VerdictCard(
        lead=lead.removesuffix("."),
        sentence=words.sentence(rest),
        because=tuple(pair_sentence(pair) for pair in every_two if pair is not first)[:_PAIRS],
        forest=figure,
    )


def pair_sentence(pair: Pair) -> str:
    """One comparison in a sentence, or why there is none."""
    first, second = pair.first, pair.second
    if pair.comparison is None:
        why = units.joined([*pair.reasons])
        return f"{first.name} and {second.name} cannot be compared: {why}."
    gap = words.difference(pair.comparison.difference, first.metric)
    points = max(run.files.plan.facts.aim.margin_points for run in (first, second))
    word = words.outcome(pair.comparison, points / 100)
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
        with_pointers(runs),
        note="Scores on different rows cannot be compared, even if they are close.",
    )


def _baseline_score(run: ComparedRun) -> str:
    score = run.score(run.baseline.name) if run.baseline else None
    return words.score_with_interval(score, run.metric)


def _pairs(every_two: Sequence[Pair]) -> Table:
    columns: list[Column[Pair]] = [
        Column("fair", lambda pair: "no" if pair.reasons else "yes"),
        Column("what it says", lambda pair: pair_sentence(pair)),
    ]
    return Table.of(
        "pair-table",
        "The winners of every two runs",
        columns,
        with_pointers(every_two),
        note="A comparison is fair if task, metric and test rows are the same. Its difference is "
        "over the same items, with the spread between seeds; Holm's correction covers all fair "
        "ones. If the runs differ in several settings, it is not known which of them causes it.",
    )


def _differ(runs: Sequence[ComparedRun], values: Mapping[str, tuple[str, ...]]) -> Table:
    def value(column: int, name: str) -> str:
        return values[name][column] or words.DASH

    columns: list[Column[str]] = [Column("setting", lambda name: name)]
    columns += [Column(run.name, partial(value, column)) for column, run in enumerate(runs)]
    caption = "Settings and facts that are not the same in all runs"
    return Table.of("difference-table", caption, columns, with_pointers(values))
