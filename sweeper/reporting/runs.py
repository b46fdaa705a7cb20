"""The page that shows several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper import __version__, units
from sweeper.findings import words
from sweeper.findings.verdict.runs import ComparedRun, Pair, differences
from sweeper.reporting.blocks import Cell, Column, FactList, NamedFact, Page, Row, Section, Table


def runs_page(runs: Sequence[ComparedRun], found: Sequence[Pair]) -> Page:
    """All runs, which of them can be compared, and what differs between them."""
    fair = sum(not pair.reasons for pair in found)
    names = words.joined([run.name for run in runs])
    said = [NamedFact("comparisons", f"{fair} of {len(found)} are fair")]
    return Page(
        title=f"{names}: sweeper comparison",
        name=names,
        verdict="none",
        head=FactList(tuple(said)),
        limits=0,
        limits_text="",
        banner="",
        sections=(
            Section("verdict", "Runs", "What did each run find?", (_runs(runs),)),
            Section("pairs", "Comparisons", "Which runs can be compared?", (_pairs(found),)),
            Section("differences", "Differences", "What differs between them?", (_differ(runs),)),
        ),
        sweeper_version=__version__,
    )


def pair_sentence(pair: Pair, found: Sequence[Pair]) -> str:
    """One comparison in a sentence, or why there is none."""
    first, second = pair.first, pair.second
    if pair.difference is None or pair.outcome is None:
        why = words.joined([*pair.reasons])
        return f"{first.name} and {second.name} cannot be compared: {why}."
    fair = sum(not one.reasons for one in found)
    gap = words.difference(pair.difference, first.metric)
    points = max(run.files.plan.facts.aim.margin_points for run in (first, second))
    word = words.outcome(pair.outcome, pair.difference, fair, points / 100)
    return f"{first.name} − {second.name} = {gap}: {word}."


def _runs(runs: Sequence[ComparedRun]) -> Table:
    return Table(
        id="run-table",
        caption="Each run with its winner on its own test split",
        columns=(
            Column("run"),
            Column("started", unit="UTC"),
            Column("base model"),
            Column("train rows", number=True),
            Column("trials", number=True),
            Column("training", number=True),
            Column("winner"),
            Column("test score (95% CI)", number=True),
            Column("best baseline"),
            Column("its test score", number=True),
        ),
        rows=tuple(map(_row, runs)),
        note="Scores on different rows cannot be compared, even if they are close.",
    )


def _row(run: ComparedRun) -> Row:
    told, best = run.summary, run.contest.baseline
    spent = (told.seconds or 0.0) + (told.confirmation_seconds or 0.0)
    texts = (
        run.name,
        told.started_at.replace("T", " ").removesuffix("Z") or words.DASH,
        ", ".join(told.models),
        f"{run.files.plan.facts.data.train_rows:,}",
        f"{told.ended} of {told.trials_asked}",
        units.duration(spent),
        run.winner or f"none yet ({told.status})",
        f"{run.metric.title} {words.score_with_interval(run.score(), run.metric)}",
        best.title if best else words.DASH,
        words.score_with_interval(run.score(best.name) if best else None, run.metric),
    )
    return Row(tuple(map(Cell, texts)))


def _pairs(found: Sequence[Pair]) -> Table:
    return Table(
        id="pair-table",
        caption="The winners of every two runs",
        columns=(Column("fair"), Column("what it says")),
        rows=tuple(
            Row((Cell("no" if pair.reasons else "yes"), Cell(pair_sentence(pair, found))))
            for pair in found
        ),
        note="A comparison is fair if task, metric and test rows are the same. Its difference is "
        "over the same items, with the spread between seeds; Holm's correction covers all fair "
        "ones. If the runs differ in several settings, it is not known which of them causes it.",
    )


def _differ(runs: Sequence[ComparedRun]) -> Table:
    return Table(
        id="difference-table",
        caption="Settings and facts that are not the same in all runs",
        columns=(Column("setting"), *(Column(run.name) for run in runs)),
        rows=tuple(
            Row((Cell(name), *(Cell(value or words.DASH) for value in values)))
            for name, values in differences(runs).items()
        ),
    )
