"""Compares the settings, facts and winners of several runs, in sentences and on a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sweeper import __version__, units
from sweeper.evaluation.significance import Scores
from sweeper.findings import words
from sweeper.findings.findings import Comparison, Interval, Metric, RunSummary
from sweeper.findings.study import paired_trials
from sweeper.findings.study.item_scores import (
    model_title,
    scored_items,
    scores_by_model,
    test_score,
    test_scores,
    trial_name,
)
from sweeper.findings.study.reading import RunFiles, read_run
from sweeper.findings.verdict.comparisons import FinalistComparisons, compare_finalists
from sweeper.findings.verdict.headline import Scoreboard, ScoredModel
from sweeper.findings.verdict.summary import reproduction, run_summary
from sweeper.reporting.blocks import (
    Column,
    Figure,
    Number,
    Page,
    Section,
    Table,
    VerdictCard,
    with_json_pointers,
)
from sweeper.reporting.charts.forest import forest
from sweeper.reporting.compose import TERMS
from sweeper.reporting.render import render
from sweeper.runfolder import RunFolder
from sweeper.safe_text import LABEL_CHARACTERS, clean, shortened
from sweeper.textfiles import write_text
from sweeper.trials import BaselineResult


class ComparedRun:
    """One run, with the test scores of its winner and its best baseline."""

    def __init__(self, folder: RunFolder) -> None:
        self.name = folder.path.name
        self.files: RunFiles = read_run(folder)
        self.comparisons: FinalistComparisons = compare_finalists(self.files)
        self.summary: RunSummary = run_summary(self.files)
        self._scores = test_scores(self.files).by_name
        chosen = self.comparisons.chosen
        self._winner = trial_name(chosen.trial) if chosen else ""

    @property
    def metric(self) -> Metric:
        return self.comparisons.metric

    @property
    def scores(self) -> Scores | None:
        """The winner's scores on the test items; None before they were scored."""
        return self._scores.get(self._winner)

    @property
    def baseline(self) -> BaselineResult | None:
        return self.comparisons.baseline

    @property
    def winner(self) -> str:
        return model_title(self.files, self._winner) if self.scores else ""

    def score(self, name: str = "") -> Interval | None:
        """The test score of a model; of the winner if no name is given."""
        return test_score(self.files, name or self._winner)

    @property
    def test_items(self) -> str:
        """Digest of the test items; empty if the winner was not scored on them."""
        winner_entries = scores_by_model(self.files).get(self._winner, [])
        return winner_entries[0].items_sha256 if winner_entries else ""

    @cached_property
    def facts(self) -> dict[str, str]:
        """Facts of data and machine, versions, and every key of sweep.yaml, by name."""
        reproduced = reproduction(self.files, None, complete=True)
        spec = yaml.safe_load(self.files.spec_yaml)
        facts = {
            "rows of each split": ", ".join(f"{k} {v:,}" for k, v in reproduced.split_rows.items()),
            "data (SHA-256)": (reproduced.data_sha256 or "")[:12],
            "test rows (SHA-256)": self.test_items[:12],
            "base model": ", ".join(f"{k}@{v}" if v else k for k, v in reproduced.models.items()),
            "tokens of a full trial": f"{self.files.plan.budget.full_tokens:,}",
            "hardware": reproduced.hardware,
            **{f"version of {name}": value for name, value in reproduced.versions.items()},
            **dict(_flat_settings(spec)),
        }
        return {name: shortened(clean(text), LABEL_CHARACTERS) for name, text in facts.items()}


def _flat_settings(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat_settings(item, f"{prefix}{key}.")
        elif prefix or key not in ("name", "schema_version"):
            yield f"{prefix}{key}", yaml.safe_dump(item, default_flow_style=True).split("\n")[0]


@dataclass(frozen=True)
class Pair:
    """Two runs, with the comparison of their winners on the same items, or reasons against one."""

    first: ComparedRun
    second: ComparedRun
    reasons: tuple[str, ...]
    comparison: Comparison | None = None

    @property
    def tied(self) -> bool:
        """Whether the two winners are within noise or equivalent."""
        outcome = self.comparison.outcome if self.comparison else ""
        return outcome in ("within noise", "equivalent")


def board(runs: Sequence[ComparedRun], run_pairs: Sequence[Pair]) -> Scoreboard:
    """The winner and the best baseline of each run whose metric is that of the first run."""
    metric, models = runs[0].metric, []
    tied_names = {run.name for pair in run_pairs if pair.tied for run in (pair.first, pair.second)}
    for run in runs:
        if (run.metric.name, run.metric.unit) != (metric.name, metric.unit):
            continue
        if run.comparisons.chosen and (score := run.score()):
            strategy, title = run.comparisons.chosen.strategy, f"{run.name}: {run.winner}"
            winner = ScoredModel(title, score, "trial", strategy, tied=run.name in tied_names)
            models.append(winner)
        if run.baseline and (score := run.score(run.baseline.name)):
            models.append(ScoredModel(f"{run.name}: {run.baseline.title}", score, "baseline"))
    models.sort(key=lambda model: metric.as_cost(model.score.value))
    caption = (
        f"Test {metric.title} with 95% CI ({metric.direction_in_words}), each on its own test split"
    )
    return Scoreboard(metric, caption, tuple(models))


def differences(runs: Sequence[ComparedRun]) -> dict[str, tuple[str, ...]]:
    """Facts and settings that are not the same in all runs, each with its values by run."""
    names = dict.fromkeys(name for run in runs for name in run.facts)
    values_by_name = {name: tuple(run.facts.get(name, "") for run in runs) for name in names}
    return {name: values for name, values in values_by_name.items() if len(set(values)) > 1}


def pairs(runs: Sequence[ComparedRun]) -> list[Pair]:
    """Each pair of runs, compared where possible; Holm's correction covers these comparisons."""
    run_pairs = [Pair(a, b, tuple(_reasons(a, b))) for a, b in combinations(runs, 2)]
    scores = {
        pair: (pair.first.scores, pair.second.scores)
        for pair in run_pairs
        if not pair.reasons and pair.first.scores and pair.second.scores
    }
    margin = max(run.files.margin for run in runs)
    for pair, compared in paired_trials.compare(scores).items():
        names = pair.first.name, pair.second.name
        result = compared.comparison(names, pair.first.metric, margin)
        run_pairs[run_pairs.index(pair)] = replace(pair, comparison=result)
    return run_pairs


def _reasons(first: ComparedRun, second: ComparedRun) -> Iterator[str]:
    """The reasons why the winners of two runs cannot be compared, if any."""
    unscored = [run.name for run in (first, second) if run.scores is None]
    if first.scores is None or second.scores is None:
        yield f"no winner has been scored on the test split of {' and '.join(unscored)}"
        return
    first_metric, second_metric = first.metric, second.metric
    if first.summary.task != second.summary.task:
        yield f"the tasks differ: {first.summary.task} and {second.summary.task}"
    if (first_metric.name, first_metric.unit) != (second_metric.name, second_metric.unit):
        metrics = first_metric, second_metric
        names = [f"{metric.title} {metric.unit}".rstrip() for metric in metrics]
        yield f"the metrics differ: {' and '.join(names)}"
    elif first_metric.unit == "nats/token" and first.summary.models != second.summary.models:
        yield "losses per token of different base models do not compare, since their tokens differ"
    first_items, second_items = scored_items(first.files), scored_items(second.files)
    counts = int(first_items.sum()), int(second_items.sum())
    if first.test_items != second.test_items:
        yield f"the test rows differ: {counts[0]:,} and {counts[1]:,} items"
    elif not np.array_equal(first_items, second_items):
        yield f"different test rows were scored: {counts[0]:,} and {counts[1]:,} items"


def compare(runs: Sequence[RunFolder], path: Path) -> list[str]:
    """Write the page, and return a sentence for each pair of runs."""
    compared_runs = [ComparedRun(run) for run in runs]
    run_pairs = pairs(compared_runs)
    write_text(path, render(runs_page(compared_runs, run_pairs)))
    return [pair_sentence(pair) for pair in run_pairs]


# Comparisons below the verdict on the first screen; the table has all of them.
_MAX_PAIRS_LISTED = 5


def runs_page(runs: Sequence[ComparedRun], pairs: Sequence[Pair]) -> Page:
    """A page with all runs on one plot, their comparisons, and their differing settings."""
    names = units.joined([run.name for run in runs])
    differing_settings = differences(runs)
    fair_pairs = [pair for pair in pairs if not pair.reasons]
    comparisons = f"{len(fair_pairs)} of {len(pairs)} are fair"
    return Page(
        title=f"{names}: sweeper comparison",
        name=names,
        verdict="none",
        head=(f"{units.plural(len(runs), 'run')}", f"comparisons: {comparisons}"),
        sections=(
            Section("verdict", "Which run", (_card(runs, pairs),)),
            Section("pairs", "Comparisons", (_pairs_table(pairs),), f"{comparisons}."),
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
    outcome = words.outcome(pair.comparison, max(first.files.margin, second.files.margin))
    return f"{first.name} − {second.name} = {difference}: {outcome}."


def _runs_table(runs: Sequence[ComparedRun]) -> Table:
    columns: list[Column[ComparedRun]] = [
        Column("run", lambda run: run.name),
        Column("started", lambda run: run.summary.started or words.DASH, unit="UTC"),
        Column("base model", lambda run: ", ".join(run.summary.models)),
        Number("train rows", lambda run: f"{run.files.plan.facts.data.train_rows:,}"),
        Number("trials", lambda run: f"{run.summary.ended} of {run.summary.trials_requested}"),
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
        with_json_pointers(runs),
        note="Scores on different rows cannot be compared, even if they are close.",
    )


def _baseline_score(run: ComparedRun) -> str:
    score = run.score(run.baseline.name) if run.baseline else None
    return words.score_with_interval(score, run.metric)


def _pairs_table(pairs: Sequence[Pair]) -> Table:
    columns: list[Column[Pair]] = [
        Column("fair", lambda pair: "no" if pair.reasons else "yes"),
        Column("result", pair_sentence),
    ]
    return Table.of(
        "pair-table",
        "The winners of each pair of runs",
        columns,
        with_json_pointers(pairs),
        note="A comparison is fair if task, metric and test rows are the same. Its difference is "
        "over the same items, with the spread between seeds; Holm's correction covers all fair "
        "comparisons. If runs differ in several settings, it is not known which one is the cause.",
    )


def _differences_table(runs: Sequence[ComparedRun], values: Mapping[str, tuple[str, ...]]) -> Table:
    def value(column: int, name: str) -> str:
        return values[name][column] or words.DASH

    columns: list[Column[str]] = [Column("setting", lambda name: name)]
    columns += [Column(run.name, partial(value, column)) for column, run in enumerate(runs)]
    caption = "Settings and facts that are not the same in all runs"
    return Table.of("difference-table", caption, columns, with_json_pointers(values))
