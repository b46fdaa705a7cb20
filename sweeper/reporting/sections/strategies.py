"""Full or LoRA (or other)? Quality against cost."""

from __future__ import annotations

from collections.abc import Iterator

from sweeper import units
from sweeper.findings import words
from sweeper.findings.figures import Metric
from sweeper.findings.record import StrategySummary
from sweeper.findings.verdict.forgetting import amount
from sweeper.reporting.blocks import (
    Block,
    Column,
    Figure,
    LegendEntry,
    Number,
    Table,
    placed,
)
from sweeper.reporting.charts.cost import Cost, cost_panel, cost_scale
from sweeper.reporting.charts.draw import legend
from sweeper.reporting.document import Report
from sweeper.reporting.sections.discovery import section
from sweeper.reporting.sections.forgetting import forgetting_cost
from sweeper.reporting.sections.parts import (
    drawn,
    interval_text,
    memory_name,
    minutes,
    nothing_to_compare,
    number_text,
    off_scale,
    strategy_cell,
    time_name,
    trial_number,
)
from sweeper.reporting.sections.plan import rejected_table


@section(30, "strategies", "Strategies", "Full or LoRA (or other)?")
def strategies_section(report: Report) -> Iterator[Block]:
    """Table and cost charts."""
    yield nothing_to_compare(report) or _figure(report)
    if report.findings.run.ended:
        yield _table(report)
        if report.plan.rejected:
            yield rejected_table(report)


def _figure(report: Report) -> Figure:
    findings = report.findings
    finding = share_sentence(report) or _leader(report)
    trials = findings.best_first()
    time = Cost(
        title=f"{time_name(report)} a trial",
        name="time",
        values={t.number: t.seconds / 60 for t in trials if t.seconds},
    )
    memory = Cost(
        title=f"peak {memory_name(report)} (GiB)",
        name="memory",
        values={t.number: t.peak_memory_gib for t in trials if t.peak_memory_gib},
        limit=report.plan.memory_limit_gib,
        limit_label=f"{memory_name(report)}: {units.gib(report.plan.memory_limit_gib)}",
    )
    lost = forgetting_cost(findings)
    names = [s.strategy for s in findings.strategies if s.best_trial is not None]
    note = "Large: the best of each strategy with its 95% interval over items. Filled, on the "
    note += "stepped line: no other trial is both cheaper to train and better. Hollow: some other "
    note += "trial is."
    unequal = _unequal(report)
    return Figure(
        id="strategy-cost",
        finding=finding,
        note=f"{note} {unequal}".strip() + off_scale(findings, trials, cost_scale(findings)),
        panels=drawn(
            *(cost_panel(findings, cost, finding) for cost in (time, memory, lost) if cost)
        ),
        legend=legend(names, LegendEntry("no trial is better in both", "", "—")),
    )


_SHARE = Metric(name="share", title="share", higher_is_better=True, unit="points")


def share_sentence(report: Report) -> str:
    """LoRA's share of full's quality, with its interval; empty where it was not measured."""
    share = report.findings.quality_share
    if share is None:
        return ""
    metric = report.findings.metric
    text = words.score_with_interval(share.share, _SHARE)
    where = "test split" if share.split == "test" else "validation split"
    other = words.strategy(share.second)
    if metric.higher_is_better:
        said = f"reaches {text} of {other}'s {metric.title}"
    else:  # of a loss only what lies under the untrained model's is quality
        said = f"reaches {text} of {other}'s gain in {metric.title} over the untrained model"
    return words.sentence(
        f"{words.strategy(share.first)} {said} on the {where} "
        f"(trial {share.first_trial} against {share.second_trial})."
    )


def _leader(report: Report) -> str:
    metric = report.findings.objective
    done = [s for s in report.findings.strategies if s.best_value is not None]
    first = min(done, key=lambda s: metric.worse(s.best_value or 0.0))
    value = words.score(first.best_value, metric, first.best_interval)
    return words.sentence(
        f"{words.strategy(first.strategy)} has the "
        f"{'highest' if metric.higher_is_better else 'lowest'} {words.on_validation(metric)} of "
        f"{units.plural(report.findings.run.ended, 'trial')} tried, {value} "
        f"{words.column_unit(metric)}".rstrip()
        + "."
    )


def _unequal(report: Report) -> str:
    counts = {s.strategy: s.complete + s.pruned + s.failed for s in report.findings.strategies}
    if len(set(counts.values())) < 2:
        return ""
    told = [f"{words.short(name)} {count}" for name, count in counts.items()]
    return f"Strategies had unequal numbers of trials: {units.joined(told)}."


def _table(report: Report) -> Table:
    findings = report.findings
    metric, compared = findings.metric, findings.objective
    unit = words.column_unit(compared)
    columns: list[Column[StrategySummary]] = [
        Column("strategy", lambda s: strategy_cell(s.strategy), "/strategy"),
        Number("best trial", lambda s: trial_number(s.best_trial), "/best_trial"),
        Number(
            words.on_validation(compared),
            lambda s: words.score(s.best_value, compared, s.best_interval),
            "/best_value",
            unit,
        ),
        Number("95% CI", lambda s: interval_text(s.best_interval, compared), "", unit),
    ]
    if metric.higher_is_better and metric.name != compared.name:
        title = f"validation {metric.title}"
        columns.append(
            Number(title, lambda s: words.score(s.best_metrics.get(metric.name), metric))
        )
    columns.append(
        Number(
            f"test {metric.title}",
            lambda s: words.score_with_interval(s.test_score, metric).replace("95% CI ", ""),
            unit=words.column_unit(metric),
        )
    )
    if baseline := _baseline(report):
        title, smallest = f"test: minus {baseline}", findings.margin_points / 100
        columns.append(Number(title, lambda s: _against(s, metric, smallest), unit=metric.unit))
    columns += [
        Number(f"{time_name(report)} a trial", lambda s: minutes(s.seconds_per_trial)),
        Number("peak memory", lambda s: number_text(s.peak_memory_gib), "/peak_memory_gib", "GiB"),
        Number("trained", _trained, unit="% of parameters"),
        Number("completed / pruned / failed", lambda s: f"{s.complete} / {s.pruned} / {s.failed}"),
    ]
    if any(s.forgetting_points is not None for s in findings.strategies):
        columns.append(Number("forgetting", _forgetting, unit="nats/token"))
    return Table.of(
        "strategy-table",
        "Strategies, each over all of its trials",
        columns,
        placed(findings.strategies, "/findings/strategies"),
        trial=lambda s: s.best_trial,
    )


def _trained(summary: StrategySummary) -> str:
    share = summary.trainable_share
    return words.DASH if share is None else words.share(share).removesuffix("%")


def _forgetting(summary: StrategySummary) -> str:
    lost = summary.forgetting_points
    return words.DASH if lost is None else amount(lost, "nats/token")


def _baseline(report: Report) -> str:
    """The baseline that strategies were compared with; empty if none was."""
    names = {s.against_baseline.second for s in report.findings.strategies if s.against_baseline}
    return next((b.title for b in report.findings.baselines if b.name in names), "")


def _against(summary: StrategySummary, metric: Metric, smallest: float) -> str:
    comparison = summary.against_baseline
    if comparison is None:
        return words.DASH
    number = comparison.first.removeprefix("trial-")
    gap = words.difference(comparison.difference, metric).replace(f" {metric.unit}", "")
    told = words.outcome(
        comparison.outcome,
        comparison.difference,
        comparison.comparisons,
        smallest,
        comparison.lacking,
    )
    return f"#{number}: {gap}, {told}"
