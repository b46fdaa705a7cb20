"""Figures of the test split: every scored model, and the classes."""

from __future__ import annotations

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Interval
from sweeper.findings.record import ClassFindings, ClassRow, TestedModel
from sweeper.metrics.base import metrics
from sweeper.reporting.blocks import Block, Cell, Column, Row, Section, Table
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.parts import memory_name, number_cell

# More classes than this make a matrix that nobody reads; the confusions are listed then.
MATRIX = 15
# Lines of a table of classes or confusions; report.json has all of them.
LINES = 20


def tested_blocks(report: Report) -> list[Block]:
    """All models that were scored on the test split; none before that."""
    if not report.findings.tested:
        return []
    costs = _costs(report)
    return [_tested(report), *([costs] if costs.rows else [])]


def _tested(report: Report) -> Table:
    findings = report.findings
    models = findings.tested
    plain = [
        name
        for name, metric in metrics().items()
        if metric.of != "answers" and any(name in model.metrics for model in models)
    ]
    written = [name for name in _written(models) if name != findings.metric.name]
    head = [n for n in plain if n != findings.metric.name]
    columns = [Column("model", pointer="/title"), Column("seeds", number=True, pointer="/seeds")]
    if findings.metric.name != "loss":
        unit = "%" if findings.metric.unit == "points" else findings.metric.unit
        columns += [
            Column(findings.metric.title, unit=unit, number=True, pointer="/score/value"),
            Column("95% CI", unit=unit, number=True),
        ]
    columns += [
        Column("loss", unit=findings.loss_unit, number=True, pointer="/loss/value"),
        Column("95% CI", unit=findings.loss_unit, number=True),
        *(_column(n, f"/metrics/{n}") for n in head),
        *(_column(n, f"/generated/metrics/{n}") for n in written),
    ]
    return Table(
        id="tested",
        caption="On the sealed test split: every model that was scored there",
        columns=tuple(columns),
        rows=tuple(
            _row(report, model, head, written, f"/findings/tested/{i}")
            for i, model in enumerate(models)
        ),
        note=_note(models),
    )


def _costs(report: Report) -> Table:
    """What each tested trial cost to train, and what it costs to use."""
    trials = {row.number: (i, row) for i, row in enumerate(report.findings.trials)}
    found = [
        (*trials[model.trial], f"/findings/tested/{i}", model)
        for i, model in enumerate(report.findings.tested)
        if model.trial in trials and trials[model.trial][1].weights_bytes is not None
    ]
    writes = any(model.generated is not None for *_, model in found)
    return Table(
        id="costs",
        caption="Cost of training and of use",
        columns=(
            Column("model"),
            Column("one training", number=True),
            Column(f"peak {memory_name(report)}", number=True),
            Column("weights on disk", number=True),
            Column("their base on disk", number=True),
            Column("parameters", number=True),
            Column(f"per 1,000 {'answers' if writes else 'items'}", unit="s", number=True),
        ),
        rows=tuple(
            Row(
                cells=(
                    Cell(model.title),
                    Cell(units.duration(row.seconds), pointer=f"/findings/trials/{i}/seconds"),
                    Cell(units.gib(row.peak_memory_gib)),
                    Cell(units.size(row.weights_bytes)),
                    Cell(units.size(row.base_bytes) if row.base_bytes else "none"),
                    Cell(units.count(row.total_parameters) if row.total_parameters else words.DASH),
                    number_cell(model.seconds_per_thousand),
                ),
                trial=row.number,
            )
            for i, row, pointer, model in found
        ),
        note="Training: time and memory of the trial. Use: files with the tokenizer, and seconds "
        + ("of greedy answers" if writes else "of scoring")
        + " on the test split, on the machine of the sweep and in its batches.",
    )


def _written(models: tuple[TestedModel, ...]) -> list[str]:
    """Metrics of answers in writing, in the order of the table."""
    there = {name for model in models if model.generated for name in model.generated.metrics}
    passes = sorted((n for n in there if n.startswith("pass@")), key=lambda n: int(n[5:]))
    known = (n for n, metric in metrics().items() if metric.of == "answers" and metric.shown)
    return [*(n for n in known if n in there), *passes]


def _column(name: str, pointer: str) -> Column:
    title = metrics()[name].title if name in metrics() else name
    return Column(title, unit=_unit(name), number=True, pointer=pointer)


def _unit(name: str) -> str:
    return metrics()[name].unit if name in metrics() else "%"  # pass@k, of any k


def _row(
    report: Report, model: TestedModel, head: list[str], written: list[str], pointer: str
) -> Row:
    cells = [Cell(model.title), Cell(str(model.seeds))]
    metric = report.findings.metric
    if metric.name != "loss":
        score = words.score(model.score.value, metric, model.score).removesuffix("%")
        cells += [Cell(score), Cell(_ends(model.score, 100 if metric.unit == "points" else 1))]
    cells += [Cell(words.loss(model.loss.value if model.loss else None, model.loss))]
    cells += [Cell(_ends(model.loss, 1))]
    cells += [_metric(n, model.metrics) for n in head]
    own = model.generated.metrics if model.generated else {}
    cells += [_metric(n, own) for n in written]
    return Row(tuple(cells), trial=model.trial, pointer=pointer)


def _metric(name: str, scored: dict[str, float]) -> Cell:
    value = scored.get(name)
    return _share(value) if _unit(name) == "%" else number_cell(value)


def _share(value: float | None) -> Cell:
    return Cell(words.DASH if value is None else f"{100 * value:.1f}")


def _ends(interval: Interval | None, factor: int) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return words.DASH
    low, high = interval.low * factor, interval.high * factor
    digits = words.digits_for((high - low) / 2)
    return f"{words.minus(f'{low:.{digits}f}')} to {words.minus(f'{high:.{digits}f}')}"


def _note(models: tuple[TestedModel, ...]) -> str:
    wrote = [model.generated for model in models if model.generated is not None]
    note = "Lower loss is better. Intervals cover items and, if a model has several, seeds."
    if wrote:
        items = words.plural(wrote[0].items, "test item")
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


@section(80)
def classes_section(report: Report) -> Section | None:
    """Figures of each class, and which classes are confused."""
    found = report.findings.classes
    if found is None:
        return None
    confused = _matrix(found) if len(found.classes) <= MATRIX else _confusions(found)
    title = "Which classes are confused?"
    return Section("by-class", "Classes", title, (_classes(found), confused))


def _classes(found: ClassFindings) -> Table:
    """The classes, those with the lowest F1 first."""
    ranked = sorted(enumerate(found.classes), key=lambda pair: (_f1(pair[1]), pair[1].label))
    shown = ranked[:LINES]
    rows = [row.rows for row in found.classes]
    note = f"Rows per class in all splits: {min(rows):,} to {max(rows):,}."
    if len(ranked) > len(shown):
        note += f" The {len(shown)} of {len(ranked)} classes with the lowest F1; all are in "
        note += "report.json."
    return Table(
        id="classes",
        caption=f"Class by class on the test split: {found.title}, lowest F1 first",
        columns=(
            Column("class", pointer="/label"),
            Column("rows", number=True, pointer="/rows"),
            Column("test items", number=True, pointer="/items"),
            Column("precision", unit="%", number=True, pointer="/precision"),
            Column("recall", unit="%", number=True, pointer="/recall"),
            Column("F1", unit="%", number=True, pointer="/f1"),
        ),
        rows=tuple(
            Row(
                cells=(
                    Cell(row.label),
                    Cell(f"{row.rows:,}"),
                    Cell(f"{row.items:,}"),
                    _share(row.precision),
                    _share(row.recall),
                    _share(row.f1),
                ),
                pointer=f"/findings/classes/classes/{place}",
            )
            for place, row in shown
        ),
        note=note,
    )


def _f1(row: ClassRow) -> float:
    return 2.0 if row.f1 is None else row.f1


def _matrix(found: ClassFindings) -> Table:
    """Test items by true class (rows) and predicted class (columns)."""
    counts = {(true, said): count for true, said, count in found.confusion}
    places = range(len(found.classes))
    return Table(
        id="confusion",
        caption=f"Confusion matrix on the test split: {found.title}; rows are true classes, "
        "columns what was predicted, in test items",
        columns=(
            Column("true class"),
            *(Column(row.label, number=True) for row in found.classes),
        ),
        rows=tuple(
            Row(
                (
                    Cell(found.classes[true].label),
                    *(Cell(str(counts.get((true, said), 0))) for said in places),
                )
            )
            for true in places
        ),
    )


def _confusions(found: ClassFindings) -> Table:
    """The most common mistakes, where a matrix would be too large."""
    wrong = sorted((-count, true, said) for true, said, count in found.confusion if true != said)
    names = [row.label for row in found.classes]
    return Table(
        id="confusion",
        caption=f"Most common confusions on the test split: {found.title}",
        columns=(
            Column("true class"),
            Column("taken for"),
            Column("test items", number=True),
            Column("of", number=True),
        ),
        rows=tuple(
            Row(
                (
                    Cell(names[true]),
                    Cell(names[said]),
                    Cell(str(-count)),
                    Cell(f"{found.classes[true].items:,}"),
                )
            )
            for count, true, said in wrong[:LINES]
        ),
        note="The whole confusion matrix is in report.json.",
    )
