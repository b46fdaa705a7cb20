"""What do I train? The card, and what it was compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sweeper import units
from sweeper.evaluation.significance import FEWEST_ITEMS
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.figures import Comparison, Metric
from sweeper.findings.record import Finalist, TrialRow
from sweeper.findings.verdict.next_step import next_step_line
from sweeper.reporting.blocks import (
    Block,
    Bullets,
    Cell,
    Code,
    Column,
    NamedFact,
    Number,
    Table,
    Text,
    VerdictCard,
    placed,
)
from sweeper.reporting.document import Report
from sweeper.reporting.palette import look
from sweeper.reporting.parts import decisive_limit, described, memory_name
from sweeper.reporting.sections._plan import plan_blocks
from sweeper.reporting.sections._tested import tested_blocks
from sweeper.trials import BaselineResult

BADGES = {
    "recommend": "recommended",
    "tie": "tie: no clear winner",
    "insufficient": "provisional",
    "none": "no verdict",
}


HEADING = Heading(10, "verdict", "Verdict", "What do I train?")


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """The answer first."""
    yield _card(report)
    yield from _next_step(report)
    yield _words(report)
    if report.findings.verdict.comparisons:
        yield _comparisons(report)
    yield from tested_blocks(report)
    row = described(report)
    if row is not None and row.weights:
        title = "Use this model in Python, in the folder where sweeper ran (docs/use-the-winner.md)"
        weights = json.dumps(f"{report.findings.run.place}/{row.weights}")
        code = f"import sweeper\n\nmodel = sweeper.load({weights})\n"
        yield Code(title, f'{code}print(model.predict(["a text"])[0])')
    if report.findings.reproduction.train_command:
        title = "This configuration, for sweep.yaml"
        yield Code(title, report.findings.reproduction.train_command, folded=True)
    if report.findings.run.ended == 0:
        yield from plan_blocks(report)


def _words(report: Report) -> Bullets:
    """The terms that the tables and sections below use, each in one sentence."""
    unit, compared = report.findings.loss_unit, report.findings.objective
    other = (
        f"Objective: {compared.title}, by which trials are compared on validation; "
        f"{compared.direction}.",
    )
    pruned = compared.title if report.plan.objective.at_rungs else "validation loss"
    meant = {
        "nats/decision": "minus the natural logarithm of the probability of the right class, "
        "averaged over the items",
        "nats/token": "minus the natural logarithm of the probability of each token of the "
        "reference answer, averaged over the tokens",
        "bits/byte": "minus the binary logarithm of the probability of the reference answer, "
        "divided by its bytes",
    }
    return Bullets(
        (
            f"Validation loss, in {unit}: {meant.get(unit, 'a likelihood')}. Lower is better.",
            *(other if compared.name != "loss" else ()),
            "Points: percentage points of a score. From 80% to 82% are 2 points.",
            f"Rung: one of up to {report.plan.budget.rungs} moments of a trial at which its "
            f"{pruned} is compared and a poor trial is stopped.",
            "Finalists: the best trials, each strategy's best one first, "
            f"{report.plan.budget.confirmed}.",
            "Seal: the test split is sealed until the finalists are ranked on validation, and is "
            "then scored once.",
        ),
        "Words",
    )


def _next_step(report: Report) -> Iterator[Block]:
    step, outlook = report.findings.next_step, report.findings.run.outlook
    if step is not None:
        further = (f"{words.sentence(outlook)}.",) if outlook else ()
        yield Text((next_step_line(step), *further))
        if step.command:
            yield Code("The command for it", step.command)


def _card(report: Report) -> VerdictCard:
    findings = report.findings
    decided = findings.verdict
    finalist = findings.finalist(decided.recommended_trial)
    row = described(report)
    strategy = row.strategy if row else ""
    figures = _trial_figures(report, finalist, row) if row else ()
    if (baseline := _baseline(report)) is not None:
        figures = _baseline_figures(report, baseline)
    return VerdictCard(
        badge=BADGES[decided.kind],
        headline=_headline(report, row),
        sentence=decided.sentence,
        figures=figures,
        configuration=tuple(
            NamedFact(name, words.value(value))
            for name, value in (row.parameters if row else {}).items()
        ),
        because=decided.because,
        alternative=_alternative(report, finalist, row),
        limit=decisive_limit(report),
        css=look(strategy).css if strategy and not decided.recommended_baseline else "",
        trial=row.number if row else None,
    )


def _headline(report: Report, row: TrialRow | None) -> str:
    decided, run = report.findings.verdict, report.findings.run
    if decided.kind == "none" or row is None:
        return "No verdict yet" if run.status == "running" or run.ended == 0 else "No verdict"
    name = f"{words.strategy(row.strategy)}, trial {row.number}"
    if decided.kind == "insufficient":
        return f"Best so far: {name}"
    baseline = _baseline(report)
    if baseline is None:
        return f"Train {name}"
    title = words.sentence(baseline.title)  # the sentence below says how it came
    if decided.fine_tuning_needed is False:
        return f"{title}: as good as fine-tuning"
    return f"{title}: nothing is shown to beat it"


def _baseline(report: Report) -> BaselineResult | None:
    """The baseline that is recommended instead of a trial."""
    wanted = report.findings.verdict.recommended_baseline
    return next((b for b in report.findings.baselines if b.name == wanted), None)


def _baseline_figures(report: Report, baseline: BaselineResult) -> tuple[NamedFact, ...]:
    decided, metric = report.findings.verdict, report.findings.metric
    score = words.score_with_interval(decided.baseline_score, metric)
    items = decided.test_items
    return (
        NamedFact(f"test {metric.title}", score, "/findings/verdict/baseline_score/value"),
        NamedFact("test items", f"{items:,}" if items else words.DASH),
        NamedFact("time", units.duration(baseline.seconds)),
    )


def _trial_figures(
    report: Report, finalist: Finalist | None, row: TrialRow
) -> tuple[NamedFact, ...]:
    findings = report.findings
    found: list[NamedFact] = []
    at = f"/findings/finalists/{findings.finalists.index(finalist)}" if finalist else ""
    if finalist and finalist.test_score:
        score = words.score_with_interval(finalist.test_score, findings.metric)
        title = f"test {findings.metric.title}"
        found.append(NamedFact(title, score, f"{at}/test_score/value"))
        items = findings.verdict.test_items
        found.append(NamedFact("test items", f"{items:,}" if items else words.DASH))
        found.append(NamedFact("seeds", str(len(finalist.seeds))))
    else:
        place = f"/findings/trials/{findings.trials.index(row)}"
        metric = findings.objective
        value = f"{words.score(row.objective, metric)} {words.column_unit(metric)}".rstrip()
        title = f"{words.on_validation(metric)}, {metric.direction}"
        found.append(NamedFact(title, value, f"{place}/objective"))
    found.append(NamedFact(f"peak {memory_name(report)}", units.gib(row.peak_memory_gib)))
    found.append(NamedFact("time a training", units.duration(row.seconds)))
    if row.weights_bytes is not None:
        found.append(
            NamedFact(
                "on disk, with its base", units.size(row.weights_bytes + (row.base_bytes or 0))
            )
        )
    tested = findings.tested_trial(row.number)
    if tested is not None and tested.seconds_per_thousand is not None:
        what = "answers" if tested.generated is not None else "items"
        found.append(
            NamedFact(f"use, per 1,000 {what}", units.duration(tested.seconds_per_thousand))
        )
    return tuple(found)


def _alternative(report: Report, finalist: Finalist | None, row: TrialRow | None) -> str:
    """The trial to train nevertheless, where a baseline is recommended."""
    if _baseline(report) is None or row is None:
        return ""
    told = f"If you want to fine-tune anyway: trial {row.number} ({words.short(row.strategy)})"
    if finalist is None or finalist.test_score is None:
        return f"{told}."
    score = words.score_with_interval(finalist.test_score, report.findings.metric)
    cost = f"{units.gib(row.peak_memory_gib)}, {units.duration(row.seconds)}"
    return f"{told}, test {report.findings.metric.title} {score}; {cost}."


def _comparisons(report: Report) -> Table:
    findings = report.findings
    metric, smallest = findings.metric, findings.margin_points / 100
    first = model_title(report, findings.verdict.comparisons[0].first)
    margin = words.points(findings.margin_points)
    if metric.unit != "points":
        margin = f"{words.value(smallest)} {metric.unit}"
    columns: list[Column[Comparison]] = [
        Column("B", lambda c: model_title(report, c.second)),
        Number("A − B", lambda c: _gap(c, metric)[0], "/difference/value", metric.unit),
        Number("95% CI", lambda c: _gap(c, metric)[1], "", metric.unit),
        Column("A against B", lambda c: _outcome(c, smallest), "/outcome"),
        Number("p, Holm", _p_value, "/adjusted_p"),
        Number(
            "to settle it",
            lambda c: words.more(c.more_items) if c.more_items else words.DASH,
            "/more_items",
        ),
    ]
    return Table.of(
        "comparisons",
        f"On the sealed test split, item by item: A is {first}",
        columns,
        placed(findings.verdict.comparisons, "/findings/verdict/comparisons"),
        note="Better: the interval excludes 0, also after Holm's correction, and the difference "
        f"is at least {margin}. Equivalent: the whole interval is within that margin. Within "
        f"noise: none of these, fewer than {FEWEST_ITEMS} items, or no model with several seeds. "
        f"{_width(findings.verdict.comparisons)}",
    )


def _width(comparisons: tuple[Comparison, ...]) -> str:
    """Where the width of the intervals comes from."""
    shares = [one.seed_share for one in comparisons if one.seed_share]
    told = "An interval is wide because few test items were scored, or because seeds differ"
    if not shares:
        return f"{told}; of seeds nothing is known here."
    ends = " to ".join(dict.fromkeys(words.share(end(shares)) for end in (min, max)))
    return f"{told}; here seeds make up {ends} of its variance."


def _gap(comparison: Comparison, metric: Metric) -> tuple[str, str]:
    """The difference, and the ends of its interval."""
    value, _, ends = words.difference(comparison.difference, metric).partition(" (CI ")
    return value.removesuffix(metric.unit).strip(), ends.removesuffix(")") or words.DASH


def _outcome(comparison: Comparison, smallest: float) -> Cell:
    told = words.outcome(
        comparison.outcome,
        comparison.difference,
        comparison.comparisons,
        smallest,
        comparison.lacking,
    )
    return Cell(told, css="o-" + comparison.outcome.replace(" ", "-"))


def _p_value(comparison: Comparison) -> str:
    p = comparison.adjusted_p
    return words.DASH if p is None else "<0.001" if p < 0.001 else f"{p:.2g}"


def model_title(report: Report, name: str) -> str:
    """A compared model in words: a trial with its strategy, or a baseline's title."""
    for baseline in report.findings.baselines:
        if baseline.name == name:
            return baseline.title
    for trial in report.findings.trials:
        if f"trial-{trial.number}" == name:
            default = ", default" if trial.origin == "default" else ""
            return f"trial {trial.number} ({words.short(trial.strategy)}{default})"
    return name
