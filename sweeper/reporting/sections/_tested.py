"""Figures of the test split: every scored model."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Interval, Metric
from sweeper.findings.record import TestedModel, TrialRow
from sweeper.metrics.base import metrics
from sweeper.reporting.blocks import Column, Number, Table, placed
from sweeper.reporting.document import Report
from sweeper.reporting.parts import interval_text, memory_name, number_text, percent


def tested_tables(report: Report) -> Iterator[Table]:
    """All models that were scored on the test split; none before that."""
    if report.findings.tested:
        yield _tested(report)


def _tested(report: Report) -> Table:
    findings = report.findings
    models, metric = findings.tested, findings.metric
    plain = [
        name
        for name, known in metrics().items()
        if known.of != "answers" and any(name in model.metrics for model in models)
    ]
    columns: list[Column[TestedModel]] = [
        Column.of("model", "/title"),
        Number.of("seeds", "/seeds"),
    ]
    if metric.name != "loss":
        unit = "%" if metric.unit == "points" else metric.unit
        score: Number[TestedModel] = Number(
            metric.title, lambda m: _score(m, metric), "/score/value", unit
        )
        columns += [score, Number("95% CI", lambda m: interval_text(m.score, metric), "", unit)]
    unit = findings.loss_unit
    columns += [
        Number("loss", lambda m: _loss(m.loss), "/loss/value", unit),
        Number("95% CI", lambda m: interval_text(m.loss), "", unit),
        *(_metric(name, "/metrics") for name in plain if name != metric.name),
        *(_metric(n, "/generated/metrics") for n in _written(models) if n != metric.name),
        *_costs(report),
    ]
    return Table.of(
        "tested",
        "On the sealed test split: every model that was scored there",
        columns,
        placed(models, "/findings/tested"),
        trial=lambda m: m.trial,
        note=_note(models),
    )


def _costs(report: Report) -> list[Column[TestedModel]]:
    """What a model cost to train, and what it costs to use."""

    def of_trial(text: Callable[[TrialRow], str]) -> Callable[[TestedModel], str]:
        def cell(model: TestedModel) -> str:
            row = report.findings.trial(model.trial)
            return text(row) if row else words.DASH

        return cell

    return [
        Number("one training", of_trial(lambda t: units.duration(t.seconds))),
        Number(f"peak {memory_name(report)}", of_trial(lambda t: units.gib(t.peak_memory_gib))),
        Number("weights on disk", of_trial(lambda t: units.size(t.weights_bytes))),
        Number("their base", of_trial(lambda t: units.size(t.base_bytes))),
        Number.of("use", "/seconds_per_thousand", number_text, "s per 1,000"),
    ]


def _written(models: tuple[TestedModel, ...]) -> list[str]:
    """Metrics of answers in writing, in the order of the table."""
    there = {name for model in models if model.generated for name in model.generated.metrics}
    passes = sorted((n for n in there if n.startswith("pass@")), key=lambda n: int(n[5:]))
    known = (n for n, metric in metrics().items() if metric.of == "answers" and metric.shown)
    return [*(n for n in known if n in there), *passes]


def _loss(loss: Interval | None) -> str:
    return words.loss(loss.value if loss else None, loss)


def _score(model: TestedModel, metric: Metric) -> str:
    return words.score(model.score.value, metric, model.score).removesuffix("%")


def _metric(name: str, at: str) -> Column[TestedModel]:
    known = metrics().get(name)
    title, unit = (known.title, known.unit) if known else (name, "%")  # pass@k, of any k
    return Number.of(title, f"{at}/{name}", percent if unit == "%" else number_text, unit)


def _note(models: tuple[TestedModel, ...]) -> str:
    wrote = [model.generated for model in models if model.generated is not None]
    note = "Lower loss is better. Intervals cover items and, if a model has several, seeds."
    if wrote:
        items = units.plural(wrote[0].items, "test item")
        overlaps = (one for one in metrics().values() if one.of == "answers" and one.shown)
        titles = ", ".join(one.title for one in overlaps)
        note += (
            f" Text overlap ({titles}) is of answers to the first {items}, "
            f"written greedily by one training, at most {wrote[0].most_tokens} tokens each."
        )
    if any(name.startswith("pass@") for one in wrote for name in one.metrics):
        note += " pass@k: programs were run against the tests in the data, without network. "
        note += "Where tests compare two objects of a program's own class, the program decides."
    return note
