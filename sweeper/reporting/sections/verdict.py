"""What do I train? The verdict, the models on the test split, three figures and the next step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sweeper import units
from sweeper.evaluation.significance import MIN_ITEMS
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Comparison, Findings, Interval, Metric, TestedModel
from sweeper.findings.study.item_scores import trial_name
from sweeper.findings.verdict.headline import headline_figures, limits_line, scoreboard, trial_title
from sweeper.findings.verdict.next_step import next_step_line
from sweeper.metrics.metric import metrics
from sweeper.reporting.blocks import (
    Block,
    Cell,
    Column,
    Figure,
    Number,
    Table,
    VerdictCard,
    existing_panels,
    style_of,
    with_json_pointers,
)
from sweeper.reporting.charts.forest import forest
from sweeper.reporting.document import Report
from sweeper.reporting.sections._plan import plan_blocks
from sweeper.trials import Trial

HEADING = Heading(10, "verdict", "What to train")


def blocks(figures: None, report: Report) -> Iterator[Block]:
    """The verdict card, then the plan if no trial has ended."""
    verdict, step = report.findings.verdict, report.findings.next_step
    trial = report.findings.best
    yield VerdictCard(
        lead=verdict.answer,
        sentence=words.sentence(verdict.reasons),
        because=report.because,
        forest=_forest(report),
        figures=tuple(headline_figures(report.findings)),
        configuration=words.configuration(report.plan.searched_values(trial)) if trial else "",
        step=next_step_line(step) if step else "",
        command=step.command if step else "",
        limits=limits_line(report.findings),
        css=style_of(trial.strategy).css if trial and not verdict.recommended_baseline else "",
        trial=trial.number if trial else None,
    )
    if report.findings.run.ended == 0:
        yield from plan_blocks(report)


def _forest(report: Report) -> Figure | None:
    board = scoreboard(report.findings)
    tables = [_comparison_table(report)] if report.findings.verdict.comparisons else []
    tables += [_test_table(report)] if report.findings.tested else []
    note = "Large: recommended. Hollow: baseline."
    if any(model.tied for model in board.models):
        note += " Bracket: cannot be told apart from the chosen trial."
    panels = existing_panels(forest(board, report.findings.verdict.sentence))
    return (
        Figure("forest", f"{board.caption}.", note, panels, tables=tuple(tables))
        if panels
        else None
    )


def _comparison_table(report: Report) -> Table:
    findings, verdict = report.findings, report.findings.verdict
    loss = _loss_metric(findings)
    first = model_title(report, verdict.comparisons[0].first)
    margin = words.points(findings.margin_points)
    if findings.metric.unit != "points":
        margin = f"{words.value(findings.margin)} {findings.metric.unit}"

    def metric(comparison: Comparison) -> Metric:
        return loss if comparison.metric == "loss" else findings.metric

    columns: list[Column[Comparison]] = [
        Column("B", lambda c: model_title(report, c.second)),
        Column("metric", lambda c: metric(c).title),
        Number("A − B (95% CI)", lambda c: words.difference(c.difference, metric(c))),
        Column("A against B", lambda c: _outcome(c, findings.margin), "/outcome"),
        Number.of("p, Holm", "/adjusted_p", lambda p: "<0.001" if p < 0.001 else f"{p:.2g}"),
        Number.of("to settle it", "/more_items", words.more),
    ]
    rows = with_json_pointers(verdict.comparisons, "/findings/verdict/comparisons")
    rows += with_json_pointers(verdict.in_loss, "/findings/verdict/in_loss")
    return Table.of(
        "comparisons",
        f"On the test split, item by item: A is {first}",
        columns,
        rows,
        note="Better: the interval excludes 0, also after Holm's correction, and the difference "
        f"is at least {margin}. Equivalent: the whole interval is within that margin. Within "
        f"noise: neither of these, fewer than {MIN_ITEMS} items, or no model with several seeds.",
    )


def _outcome(comparison: Comparison, margin: float) -> Cell:
    css = f"o-{comparison.outcome.replace(' ', '-')}"
    return Cell(words.outcome(comparison, margin), css=css)


def model_title(report: Report, name: str) -> str:
    """A compared model's title: a trial with its strategy, or a baseline."""
    findings = report.findings
    trial = next((trial for trial in findings.trials if trial_name(trial.number) == name), None)
    baseline = findings.baseline(name)
    return trial_title(trial) if trial else baseline.title if baseline else name


def _test_table(report: Report) -> Table:
    findings = report.findings
    models, metric, loss = findings.tested, findings.metric, _loss_metric(findings)
    metric_names = [
        name
        for name, description in metrics().items()
        if description.computed_from != "answers" and any(name in model.metrics for model in models)
    ]
    columns: list[Column[TestedModel]] = [
        Column.of("model", "/title"),
        Number.of("seeds", "/seeds"),
    ]
    if metric.name != "loss":
        unit = "%" if metric.unit == "points" else metric.unit
        columns += [
            Number(metric.title, lambda m: _score(m.score, metric), "/score/value", unit),
            Number(
                "95% CI", lambda m: words.interval_ends(m.score, metric) or words.DASH, "", unit
            ),
        ]
    unit = findings.loss_unit
    columns += [
        Number("loss", lambda m: _score(m.test_loss, loss), "/test_loss/value", unit),
        Number("95% CI", lambda m: words.interval_ends(m.test_loss, loss) or words.DASH, "", unit),
        *(_metric_column(name, "/metrics") for name in metric_names if name != metric.name),
        *(
            _metric_column(n, "/generated/metrics")
            for n in _answer_metrics(models)
            if n != metric.name
        ),
        *_cost_columns(report),
    ]
    return Table.of(
        "tested",
        "Every model that was scored on the test split",
        columns,
        with_json_pointers(models, "/findings/tested"),
        trial=lambda m: m.trial,
        note=_note(models),
    )


def _cost_columns(report: Report) -> list[Column[TestedModel]]:
    """Columns with a model's costs of training and use."""

    def of_trial(text: Callable[[Trial], str]) -> Callable[[TestedModel], str]:
        def cell(model: TestedModel) -> str:
            trial = report.findings.trial(model.trial)
            return text(trial) if trial else words.DASH

        return cell

    return [
        Number("one training", of_trial(lambda t: units.duration(t.seconds))),
        Number(
            f"peak {report.plan.memory_name}",
            of_trial(lambda t: units.gib(t.result.peak_memory_gib)),
        ),
        Number("weights on disk", of_trial(lambda t: units.size(t.result.weights_bytes))),
        Number("base on disk", of_trial(lambda t: units.size(t.result.base_bytes))),
        Number.of("use", "/seconds_per_thousand", words.number, "s per 1,000 items"),
    ]


def _answer_metrics(models: tuple[TestedModel, ...]) -> list[str]:
    """Names of the metrics of generated answers, in the order of the table."""
    measured_names = {
        name for model in models if model.generated for name in model.generated.metrics
    }
    passes = sorted((n for n in measured_names if n.startswith("pass@")), key=lambda n: int(n[5:]))
    names = (
        n for n, metric in metrics().items() if metric.computed_from == "answers" and metric.shown
    )
    return [*(n for n in names if n in measured_names), *passes]


def _score(score: Interval | None, metric: Metric) -> str:
    """A score without its unit, which the column's header shows."""
    return words.score(score.value if score else None, metric, score).removesuffix("%")


def _loss_metric(findings: Findings) -> Metric:
    return Metric(name="loss", title="loss", higher_is_better=False, unit=findings.loss_unit)


def _metric_column(name: str, parent: str) -> Column[TestedModel]:
    metric = metrics().get(name)
    title, unit = (metric.title, metric.unit) if metric else (name, "%")  # such as pass@8
    return Number.of(
        title, f"{parent}/{name}", words.percent if unit == "%" else words.number, unit
    )


def _note(models: tuple[TestedModel, ...]) -> str:
    """The note of the test table: how its figures were measured."""
    generated = [model.generated for model in models if model.generated is not None]
    note = "Lower loss is better. Intervals cover items and, if a model has several, seeds."
    if generated:
        items = units.plural(generated[0].items, "test item")
        titles = ", ".join(
            metric.title
            for metric in metrics().values()
            if metric.computed_from == "answers" and metric.shown
        )
        note += (
            f" Text overlap ({titles}) is of the answers of one training to the first {items}, "
            f"decoded greedily, at most {generated[0].max_tokens} tokens each."
        )
    if any(name.startswith("pass@") for entry in generated for name in entry.metrics):
        note += " pass@k: programs were run against the tests in the data, without network. "
        note += "Whether two objects of a program's own class are equal, the program decides."
    return note
