"""The page that compares several runs, and a sentence for every two of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from sweeper import __version__, units
from sweeper.features.run_comparison._runs import ComparedRun, Pair, board, differences, pairs
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
from sweeper.reporting.page_html import render
from sweeper.runfolder import RunFolder
from sweeper.textfiles import write_text


def compare(runs: Sequence[RunFolder], path: Path) -> list[str]:
    """Write the page, and return a sentence for every two runs."""
    compared_runs = [ComparedRun(run) for run in runs]
    run_pairs = pairs(compared_runs)
    write_text(path, render(runs_page(compared_runs, run_pairs)))
    return [pair_sentence(pair) for pair in run_pairs]


# Comparisons listed on the first screen; the table has all of them.
_MAX_PAIRS_LISTED = 5


def runs_page(runs: Sequence[ComparedRun], pairs: Sequence[Pair]) -> Page:
    """A page with all runs on one plot, their comparisons, and their differing settings."""
    names = units.joined([run.name for run in runs])
    differing_settings = differences(runs)
    fair_pairs = [pair for pair in pairs if not pair.reasons]
    comparisons = f"{len(fair_pairs)} of {len(pairs)} are fair."
    return Page(
        title=f"{names}: sweeper comparison",
        name=names,
        verdict="none",
        head=(f"{units.plural(len(runs), 'run')}", f"comparisons: {comparisons.rstrip('.')}"),
        sections=(
            Section("verdict", "Which run", (_card(runs, pairs),)),
            Section("pairs", "Comparisons", (_pairs_table(pairs),), comparisons),
            Section(
                "differences",
                "Differences",
                (_differences_table(runs, differing_settings),),
                f"{units.plural(len(differing_settings), 'setting differs', 'settings differ')}.",
            ),
        ),
        sweeper_version=__version__,
        terms=TERMS,
    )


def _card(runs: Sequence[ComparedRun], pairs: Sequence[Pair]) -> VerdictCard:
    """The first screen: the verdict on several runs."""
    lead_pair = next((pair for pair in pairs if not pair.reasons), pairs[0])
    other_pairs = [pair for pair in pairs if pair is not lead_pair]
    models = board(runs, pairs)
    plot = forest(models, models.caption)
    note = "Hollow: baseline. Bracket: a winner that cannot be told apart from another one."
    caption = f"{models.caption}."
    figure = Figure("forest", caption, note, (plot,), tables=(_runs_table(runs),)) if plot else None
    headline, _, sentence = pair_sentence(lead_pair).partition(": ")
    return VerdictCard(
        lead=headline.removesuffix("."),
        sentence=words.sentence(sentence),
        because=tuple(pair_sentence(pair) for pair in other_pairs[:_MAX_PAIRS_LISTED]),
        forest=figure,
    )


def pair_sentence(pair: Pair) -> str:
    """One comparison in a sentence, or why there is none."""
    first, second = pair.first, pair.second
    if pair.comparison is None:
        reasons = units.joined([*pair.reasons])
        return f"{first.name} and {second.name} cannot be compared: {reasons}."
    difference = words.difference(pair.comparison.difference, first.metric)
    margin_points = max(run.files.plan.facts.aim.margin_points for run in (first, second))
    outcome = words.outcome(pair.comparison, margin_points / 100)
    return f"{first.name} − {second.name} = {difference}: {outcome}."


def _runs_table(runs: Sequence[ComparedRun]) -> Table:
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


def _pairs_table(pairs: Sequence[Pair]) -> Table:
    columns: list[Column[Pair]] = [
        Column("fair", lambda pair: "no" if pair.reasons else "yes"),
        Column("what it says", lambda pair: pair_sentence(pair)),
    ]
    return Table.of(
        "pair-table",
        "The winners of every two runs",
        columns,
        with_pointers(pairs),
        note="A comparison is fair if task, metric and test rows are the same. Its difference is "
        "over the same items, with the spread between seeds; Holm's correction covers all fair "
        "ones. If the runs differ in several settings, it is not known which of them causes it.",
    )


def _differences_table(runs: Sequence[ComparedRun], values: Mapping[str, tuple[str, ...]]) -> Table:
    def value(column: int, name: str) -> str:
        return values[name][column] or words.DASH

    columns: list[Column[str]] = [Column("setting", lambda name: name)]
    columns += [Column(run.name, partial(value, column)) for column, run in enumerate(runs)]
    caption = "Settings and facts that are not the same in all runs"
    return Table.of("difference-table", caption, columns, with_pointers(values))
