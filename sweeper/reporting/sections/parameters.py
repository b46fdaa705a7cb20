"""Which learning rate and which rank? The completed trials of each strategy show it.

Strategies are never pooled: their optima differ by an order of magnitude. "Within noise" is the
range of values whose trials cannot be told apart from the strategy's best on the same items. Pairs
of trials have the same outcome as in the cost section. A trial beyond a limit counts as the best
only if no trial is within the limits.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import altair as alt
import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import ExperimentalWarning
from pydantic import Field

from sweeper import units
from sweeper.artifact import Record
from sweeper.evaluation.significance import paired_error, t_quantile, weighted
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, Gain, Interval, Limitation
from sweeper.findings.study.paired_trials import ComparedPair, ComparedPairs, Pair, compare_pairs
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.strategy_figures import (
    default_best_comparisons,
    gain_pairs,
    off_pairs,
    off_values,
    same_but_for,
    strategies_of,
)
from sweeper.hyperparameters import KEY_PARAMETERS, is_number
from sweeper.plans import Candidate, Parameter
from sweeper.reporting.blocks import (
    Block,
    Column,
    Drawing,
    Figure,
    Number,
    Table,
    Text,
    existing_panels,
    strategy_cell,
    style_of,
    with_json_pointers,
)
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit, focus
from sweeper.reporting.document import Report
from sweeper.spec import Scalar
from sweeper.traits.traits import NO_STRATEGY, StrategyOnModel
from sweeper.trials import Trial

# A value within this share of the range from a bound is at its edge.
EDGE_SHARE = 0.1
# Fewest completed trials for importances; with fewer, they are noise.
MIN_TRIALS_FOR_IMPORTANCE = 20
# Share of trials that count as the best: five of twenty, as Optuna's documentation asks for.
BEST_SHARE = 0.25
# Number of parts of the trials, each of which is left out once for an importance's interval.
FOLDS = 5


class ParameterFinding(Record):
    """What the trials of a strategy show about a parameter."""

    strategy: StrategyOnModel
    parameter: str
    log: bool
    unit: str = ""
    trials: int = Field(0, description="number of completed trials with this parameter")
    default: Scalar | None = None
    low: float | None = Field(
        None, description="of the allowed range; in a plan, `low` is of the range searched first"
    )
    high: float | None = Field(None, description="of the allowed range")
    best: Scalar
    best_trial: int | None = None
    within_noise: tuple[Scalar, ...] = Field(
        (), description="choices that cannot be told apart from the best"
    )
    within_noise_trials: int = 0
    within_noise_low: float | None = None
    within_noise_high: float | None = None
    at_edge: Literal["low", "high"] | None = None
    importance: Interval | None = None
    varied: bool = True


class EffectFinding(Gain):
    """A trial with a parameter on, compared on validation with a trial in which it is off."""

    strategy: StrategyOnModel
    parameter: str
    with_trial: int
    without_trial: int
    same_configuration: bool = Field(description="the two differ in nothing else")


class Figures(Record):
    """Findings of searched parameters, and effects of parameters that can be switched off."""

    parameters: tuple[ParameterFinding, ...]
    effects: tuple[EffectFinding, ...] = ()
    best_strategy: StrategyOnModel = Field(
        NO_STRATEGY, description="of the best trial within the limits"
    )


def effect_findings(run: RunFiles) -> tuple[EffectFinding, ...]:
    """The effect of each parameter that a strategy has tried with and without its off value."""
    pairs = {name: off_pairs(run, name) for name in off_values(run)}
    # Pairs that the cost section compares are not compared again.
    compared = compare_pairs(
        gain_pairs(run),
        [pair for pairs_of_parameter in pairs.values() for pair in pairs_of_parameter],
    )
    return tuple(
        _effect(run, name, pair, compared.of(*pair))
        for name, pairs_of_parameter in pairs.items()
        for pair in pairs_of_parameter
    )


def _effect(run: RunFiles, name: str, pair: Pair, comparison: ComparedPair | None) -> EffectFinding:
    trial_without, trial_with = pair
    return EffectFinding(
        strategy=trial_with.config.strategy,
        parameter=name,
        with_trial=trial_with.config.number,
        without_trial=trial_without.config.number,
        same_configuration=same_but_for(name, *pair),
        **(comparison.gain(run.margin) if comparison else {}),
    )


def parameter_findings(run: RunFiles, pairs: ComparedPairs) -> tuple[ParameterFinding, ...]:
    """Findings of all searched parameters, for strategies with a completed trial."""
    findings: list[ParameterFinding] = []
    for strategy in strategies_of(run):
        trials = [trial for trial in run.ranked if trial.config.strategy == strategy]
        candidate = next((c for c in run.plan.candidates if c.strategy == strategy), None)
        if trials and candidate is not None:
            within_limits = list(filter(run.is_within, trials)) or trials
            findings += _strategy_findings(trials, within_limits, candidate, pairs)
    return tuple(findings)


def _strategy_findings(
    trials: list[TrialFiles],
    within_limits: list[TrialFiles],
    candidate: Candidate,
    pairs: ComparedPairs,
) -> list[ParameterFinding]:
    """The findings of one strategy's searched parameters, from its trials, best first."""
    searched = {
        name: parameter
        for name, parameter in candidate.parameters.items()
        if parameter.searched and name in trials[0].config.parameters
    }
    by_name: dict[str, Interval] = {}
    if len(trials) >= MIN_TRIALS_FOR_IMPORTANCE:
        by_name = importances(
            [trial.config.parameters for trial in trials],
            [trial.cost for trial in trials],
            {name: parameter.log for name, parameter in searched.items()},
        )
    tied_trials = [trial for trial in within_limits if _is_tied(trial, within_limits[0], pairs)]
    return [
        _parameter_finding(
            trials, tied_trials, candidate.strategy, name, parameter, by_name.get(name)
        )
        for name, parameter in searched.items()
    ]


def _parameter_finding(
    trials: list[TrialFiles],
    tied_trials: list[TrialFiles],
    strategy: StrategyOnModel,
    name: str,
    parameter: Parameter,
    importance: Interval | None,
) -> ParameterFinding:
    """The finding of one parameter; ``tied_trials`` are the best and those within its noise."""
    best = tied_trials[0].config.parameters[name]
    values = [t.config.parameters[name] for t in trials if name in t.config.parameters]
    tied_values = [t.config.parameters[name] for t in tied_trials if name in t.config.parameters]
    has_varied = len(set(values)) > 1
    is_comparable, is_numeric = has_varied and len(tied_values) > 1, parameter.kind != "categorical"
    numbers = (
        [float(value) for value in tied_values if is_comparable and is_number(value)]
        if is_numeric
        else []
    )
    choices = sorted(set(tied_values), key=str) if is_comparable and not is_numeric else []
    low, high = parameter.bounds
    return ParameterFinding(
        strategy=strategy,
        parameter=name,
        log=parameter.log,
        unit=parameter.unit,
        trials=len(values),
        default=parameter.default,
        low=low,
        high=high,
        best=best,
        best_trial=tied_trials[0].config.number,
        within_noise=tuple(choices),
        within_noise_trials=len(tied_values),
        within_noise_low=min(numbers, default=None),
        within_noise_high=max(numbers, default=None),
        at_edge=_edge(best, parameter) if has_varied else None,
        importance=importance if has_varied else None,
        varied=has_varied,
    )


def _is_tied(trial: TrialFiles, best: TrialFiles, pairs: ComparedPairs) -> bool:
    """Whether a trial is not clearly worse than the best on the same items; False if unknown.

    A pair that is not in ``pairs`` gets a t interval over the items of one training each, since a
    bootstrap for 500 trials would take too long.
    """
    if trial is best:
        return True
    comparison = pairs.of(trial, best)
    if comparison is not None:
        return not comparison.clear or comparison.estimate.value < 0
    if trial.items is None or best.items is None:
        return False
    if trial.items.costs.size != best.items.costs.size:
        return False
    rows = np.stack([trial.items.costs, best.items.costs])
    gap, error = paired_error(*weighted(rows, best.items.weights))
    if not math.isfinite(error):
        return False
    return gap <= t_quantile(trial.items.costs.size - 1) * error


def _edge(best: Scalar, parameter: Parameter) -> Literal["low", "high"] | None:
    """The bound of the allowed range that the best value is near (``EDGE_SHARE``), if any.

    A lower bound of 0 does not count, since no parameter can be negative.
    """
    low, high = parameter.bounds
    if low is None or high is None or not is_number(best) or high <= low:
        return None
    if parameter.log and low > 0:
        position = math.log(float(best) / low) / math.log(high / low)
    else:
        position = (float(best) - low) / (high - low)
    return "low" if position < EDGE_SHARE and low else "high" if position > 1 - EDGE_SHARE else None


def importances(
    rows: Sequence[Mapping[str, Scalar]], costs: Sequence[float], parameters: Mapping[str, bool]
) -> dict[str, Interval]:
    """The importance of each varied parameter for whether a trial is among the best.

    Estimated by PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255). The interval is the range of
    the estimates without each fifth of the trials in turn, since few trials can decide one.

    Args:
        rows: The configuration of each trial; may lack parameters.
        costs: The cost of each trial; lower is better.
        parameters: Whether the scale is logarithmic, by the parameter's name.

    Returns:
        Shares that add up to one; empty if no parameter varied.
    """
    names = [name for name in parameters if len({row.get(name) for row in rows}) > 1]
    if not names:
        return {}
    distributions = {name: _distribution(rows, name, log=parameters[name]) for name in names}
    all_trials = _importance_shares(rows, costs, distributions)
    folds = []
    for fold in range(min(FOLDS, len(rows))):
        kept_rows = [i for i in range(len(rows)) if i % FOLDS != fold]
        folds.append(
            _importance_shares(
                [rows[i] for i in kept_rows], [costs[i] for i in kept_rows], distributions
            )
        )
    return {
        name: Interval(
            value=all_trials.get(name, 0.0),
            low=min(fold_shares.get(name, 0.0) for fold_shares in [all_trials, *folds]),
            high=max(fold_shares.get(name, 0.0) for fold_shares in [all_trials, *folds]),
            n=FOLDS,
        )
        for name in names
    }


def _distribution(rows: Sequence[Mapping[str, Scalar]], name: str, *, log: bool) -> Any:
    """Optuna's distribution over the values that a parameter has in these rows."""
    values = [row[name] for row in rows if name in row]
    numbers = [value for value in values if is_number(value)]
    if len(numbers) < len(values):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = float(min(numbers)), float(max(numbers))
    return FloatDistribution(low, high, log=log and low > 0)


def _importance_shares(
    rows: Sequence[Mapping[str, Scalar]], costs: Sequence[float], distributions: Mapping[str, Any]
) -> dict[str, float]:
    # Imported here, as it loads scikit-learn, which takes 0.8 s.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for row, cost in zip(rows, costs, strict=True):
        params = {name: row[name] for name in distributions if name in row}
        used_distributions = {name: distributions[name] for name in params}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=used_distributions, value=cost)
        )
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        shares = get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


# Maximum number of parameters of a strategy that are drawn.
_MAX_PANELS = 3
# Size of the plot area of a panel, in pixels.
_WIDTH, _HEIGHT = 262, 150
# Smallest window of a running median, in trials.
MIN_WINDOW = 5
# Fewest completed trials of a strategy for a chart.
MIN_TRIALS = 8

HEADING = Heading(70, "hparams", "Hyperparameters")


def compute(run: RunFiles, findings: Findings) -> Figures:
    """The findings of all parameters and effects."""
    return Figures(
        parameters=parameter_findings(run, default_best_comparisons(run)),
        effects=effect_findings(run),
        best_strategy=next((trial.config.strategy for trial in run.ranked), ""),
    )


# Edge of the allowed range (``at_edge``) in words.
_EDGES = {"low": "lowest", "high": "highest"}


def limits(figures: Figures, findings: Findings) -> Iterator[Limitation]:
    """A limitation for each parameter of the best strategy whose best value is near a bound."""
    best = figures.best_strategy
    for finding in figures.parameters:
        if finding.strategy != best or finding.at_edge is None:
            continue
        bound = finding.low if finding.at_edge == "low" else finding.high
        yield Limitation(
            id=f"bound-{finding.parameter}",
            text=f"{words.sentence(words.short(best))}: the best {finding.parameter} "
            f"({words.value(finding.best)}) is in the {_EDGES[finding.at_edge]} 10% of the allowed "
            f"range (bound: {words.value(bound)}); the optimum may be outside.",
            action=f"Widen the allowed range of {finding.parameter} in a rule folder of your "
            "own and run again with --new.",
        )


def finding(figures: Figures, report: Report) -> str:
    """The best value of the main parameter of the strategy with most trials; or the effects."""
    strategies = [*_drawn_strategies(figures)]
    if not strategies:
        has_enough_trials = any(p.trials >= MIN_TRIALS for p in figures.parameters)
        without_effects = "No searched parameter varied." if has_enough_trials else ""
        return " ".join(_effect_sentences(figures, report.findings)) or without_effects
    main_strategy = max(strategies, key=lambda strategy: _trial_count(figures, strategy))
    return _answer_sentence(_main_parameter(_key_parameters(figures.parameters, main_strategy)))


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A figure for each strategy, a table of all searched parameters, and the effects."""
    parameters = figures.parameters
    for strategy in _drawn_strategies(figures):
        figure = _figure(report.findings, parameters, strategy)
        if figure is not None:
            yield figure
    yield _table(parameters)
    sentences = [*_effect_sentences(figures, report.findings)]
    if not any(p.importance for p in parameters):
        sentences.append(
            f"Importances need {MIN_TRIALS_FOR_IMPORTANCE} completed trials of one strategy; with "
            "fewer they are noise."
        )
    yield Text(tuple(sentences))


def _trial_count(figures: Figures, strategy: StrategyOnModel) -> int:
    return max(p.trials for p in figures.parameters if p.strategy == strategy)


def _drawn_strategies(figures: Figures) -> Iterator[StrategyOnModel]:
    """The strategies with enough trials for charts and a varied parameter."""
    for strategy in dict.fromkeys(p.strategy for p in figures.parameters if p.varied):
        if _trial_count(figures, strategy) >= MIN_TRIALS:
            yield strategy


def _main_parameter(key_parameters: list[ParameterFinding]) -> ParameterFinding:
    """The first parameter with a range within noise; otherwise the first one."""
    return next((p for p in key_parameters if p.within_noise_low is not None), key_parameters[0])


def _effect_sentences(figures: Figures, findings: Findings) -> Iterator[str]:
    """A sentence for each comparison of a trial with a parameter on and one with it off."""
    metric = findings.objective
    for effect in figures.effects:
        outcome = "not compared"
        if effect.outcome:
            outcome = words.outcome(effect, findings.margin)
        pair = "otherwise the same" if effect.same_configuration else "the best of each"
        if effect.lacking == "seeds":
            pair += "; the interval is only over items"
        gap = words.better_by(effect.gain, metric) if effect.gain else words.DASH
        yield (
            f"{words.sentence(words.strategy(effect.strategy))} with {effect.parameter} against "
            f"without it: {metric.title} {gap}, {outcome} "
            f"(trial {effect.with_trial} against trial {effect.without_trial}, {pair})."
        )


def _figure(
    findings: Findings, parameters: tuple[ParameterFinding, ...], strategy: StrategyOnModel
) -> Figure | None:
    """The panels of one strategy, all with the same vertical scale."""
    key_parameters = _key_parameters(parameters, strategy)
    trials = [t for t in findings.trials if t.strategy == strategy]
    values = [t.value for t in trials if t.value is not None]
    scale = focus(values, higher_is_better=findings.objective.higher_is_better)
    drawings = [parameter_panel(findings, p, scale, _answer_sentence(p)) for p in key_parameters]
    of_strategy = [p for p in parameters if p.strategy == strategy]
    panels = existing_panels(*drawings, importance_panel(of_strategy))
    if not panels:
        return None
    main_parameter = _main_parameter(key_parameters)
    note = "Large: the best trial."
    if main_parameter.within_noise_low is not None:
        note += " Shaded: values whose trials cannot be told apart from it on the same items."
    if len(values) >= MIN_WINDOW:
        note += f" Line: running median over {window(len(values))} trials."
    if any(is_strip(p, trials) for p in key_parameters):
        note += " Bars: medians."
    if any(p.importance for p in of_strategy):
        note += " Importance: whiskers show the range without a fifth of the trials."
    note += draw.off_scale_sentence(findings, trials, scale)
    return Figure(
        id=f"parameters-{strategy}",
        finding=_answer_sentence(main_parameter),
        note=note,
        panels=panels,
        legend=draw.legend([strategy]),
    )


def _key_parameters(
    parameters: tuple[ParameterFinding, ...], strategy: StrategyOnModel
) -> list[ParameterFinding]:
    """The varied parameters of a strategy that are drawn, in the order of ``KEY_PARAMETERS``."""
    of_strategy = [p for p in parameters if p.strategy == strategy and p.varied]
    of_strategy.sort(key=lambda p: [*KEY_PARAMETERS, p.parameter].index(p.parameter))
    return of_strategy[:_MAX_PANELS]


def _answer_sentence(finding: ParameterFinding) -> str:
    """The answer for one parameter in a sentence."""
    name = words.sentence(f"{words.strategy(finding.strategy)}, {finding.parameter}")
    best = (
        f"best of {units.plural(finding.trials, 'completed trial')} at {words.value(finding.best)}"
    )
    low, high = finding.within_noise_low, finding.within_noise_high
    if low is not None:
        return f"{name}: {best}; {words.span(low, high)} cannot be told apart from it."
    return f"{name}: {best}."


def _table(parameters: tuple[ParameterFinding, ...]) -> Table:
    columns: list[Column[ParameterFinding]] = [
        Column.of("strategy", "/strategy", strategy_cell),
        Column.of("parameter", "/parameter"),
        Number.of("best", "/best", words.value),
        Number.of("default", "/default", words.value),
        Column("within noise of the best", _range_within_noise),
        Column("allowed range", lambda p: words.span(p.low, p.high)),
        Number.of("completed trials", "/trials"),
    ]
    if any(p.importance for p in parameters):
        unit = "share; range without a fifth of the trials"
        columns.append(Number("importance", lambda p: _importance(p.importance), "", unit))
    columns.append(Column("remark", _remark))
    return Table.of(
        "parameter-table",
        "Every searched parameter",
        columns,
        with_json_pointers(parameters, "/sections/hparams/parameters"),
        trial=lambda p: p.best_trial,
    )


def _range_within_noise(finding: ParameterFinding) -> str:
    low, high = finding.within_noise_low, finding.within_noise_high
    if finding.within_noise:
        return ", ".join(words.value(choice) for choice in finding.within_noise)
    return words.value(low) if low is not None and low == high else words.span(low, high)


def _importance(interval: Interval | None) -> str:
    if interval is None or interval.low is None or interval.high is None:
        return words.DASH
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def _remark(finding: ParameterFinding) -> str:
    if not finding.varied:
        return "did not vary"
    if finding.at_edge:
        edge = _EDGES[finding.at_edge]
        return f"best in the {edge} 10% of the allowed range: the optimum may be outside"
    return ""


def parameter_panel(
    findings: Findings, finding: ParameterFinding, scale: Scale, description: str
) -> Drawing | None:
    """A chart of the objective by one parameter of one strategy; None if it did not vary."""
    trials = [
        t
        for t in findings.trials
        if t.strategy == finding.strategy
        and t.value is not None
        and finding.parameter in t.config.parameters
    ]
    if not trials or not finding.varied:
        return None
    sheet = draw.Sheet()
    objective = words.on_validation(findings.objective)
    y = scale.y(4, title=objective)
    chart = (_strip if is_strip(finding, trials) else _scatter)(sheet, trials, finding, y, scale)
    title = f"{words.short(finding.strategy)}: {objective} by {finding.parameter}"
    return sheet.draw(chart, (_WIDTH, _HEIGHT), title, description)


def importance_panel(findings: list[ParameterFinding]) -> Drawing | None:
    """The importances of one strategy's parameters; None without importances."""
    shares = [(p.parameter, p.importance) for p in findings if p.importance is not None]
    if not shares:
        return None
    shares.sort(key=lambda entry: (-entry[1].value, entry[0]))
    rows: list[dict[str, Any]] = [
        {"label": name, "y": index, "zero": 0.0, "x": share.value}
        | {"low": share.ends[0], "high": share.ends[1]}
        for index, (name, share) in enumerate(shares)
    ]
    sheet = draw.Sheet()
    scale = Scale(0.0, max(share.ends[1] for _, share in shares) or 1.0, log=False)
    x_of = {name: alt.X(f"{name}:Q", scale=scale.altair()) for name in ("low", "zero")}
    y = alt.Y("y:Q", scale=alt.Scale(domain=[len(rows) - 0.6, -0.7], nice=False), axis=None)
    bars = sheet.chart(rows).mark_bar(
        height=7, color=style_of(findings[0].strategy).color, opacity=0.55
    )
    whiskers = sheet.chart(rows).mark_rule(strokeWidth=1.25, color=draw.INK)
    labels = sheet.chart(rows).mark_text(align="left", dy=-11, baseline="middle", color=draw.INK)
    chart = (
        bars.encode(x=scale.x(4, title="importance (share)", grid=False), x2="zero:Q", y=y)
        + whiskers.encode(x=x_of["low"], x2="high:Q", y=y)
        + labels.encode(x=x_of["zero"], y=y, text="label:N")
    )
    title = f"{words.short(findings[0].strategy)}: importance of parameters"
    description = f"{shares[0][0]} decides most whether a trial is among the best."
    return sheet.draw(chart, (_WIDTH, max(60, 30 * len(rows))), title, description)


def is_strip(finding: ParameterFinding, trials: list[Trial]) -> bool:
    """Whether each value has a strip of its own: choices, or integers with few distinct values."""
    configurations, name = [t.config.parameters for t in trials], finding.parameter
    values = {parameters[name] for parameters in configurations if name in parameters}
    is_numeric = all(map(is_number, values))
    is_integer = all(isinstance(v, int) for v in values)
    return not is_numeric or (is_integer and len(values) <= 12)


def window(trials: int) -> int:
    """The window of a running median: an odd number of trials, about a tenth of them.

    >>> window(6), window(125)
    (5, 13)
    """
    return max(MIN_WINDOW, trials // 10 | 1)


def _title(finding: ParameterFinding) -> str:
    return f"{finding.parameter} ({finding.unit})" if finding.unit else finding.parameter


def _point_row(trial: Trial, finding: ParameterFinding, x: Any) -> dict[str, Any]:
    best = trial.number == finding.best_trial
    return draw.row_of(trial.strategy, trial.number, x=x, y=trial.value, best=best)


def _scatter(
    sheet: draw.Sheet, trials: list[Trial], finding: ParameterFinding, y: Any, scale: Scale
) -> Any:
    rows = [_point_row(t, finding, float(t.config.parameters[finding.parameter])) for t in trials]
    x_scale = fit([row["x"] for row in rows], log=finding.log or None, pad=0.08)
    number_format = "~e" if x_scale.log and x_scale.low < 0.01 else ".3~r"
    x = x_scale.x(5, format=number_format, title=_title(finding), grid=False)
    chart = _median_line(sheet, draw.clipped(rows, scale), x, y) + _points(sheet, rows, x, y, scale)
    low, high = finding.within_noise_low, finding.within_noise_high
    if low is not None and high is not None:
        band = [{"x": x_scale.clip(low), "x2": x_scale.clip(high)}]
        shade = (
            sheet.chart(band)
            .mark_rect(color=style_of(finding.strategy).color, opacity=0.13)
            .encode(x=x, x2="x2:Q")
        )
        chart = shade + chart
    return chart


def _strip(
    sheet: draw.Sheet, trials: list[Trial], finding: ParameterFinding, y: Any, scale: Scale
) -> Any:
    """A strip of trials for each value, with their median.

    The values are labels in the rows instead of the axis, since ``Sheet`` makes rows safe.
    """
    values = sorted({t.config.parameters[finding.parameter] for t in trials}, key=_strip_order)
    places = {value: index for index, value in enumerate(values)}
    rows = [_point_row(t, finding, places[t.config.parameters[finding.parameter]]) for t in trials]
    x = alt.X(
        "x:Q",
        scale=alt.Scale(domain=[-0.5, len(values) - 0.5], nice=False),
        axis=alt.Axis(
            title=_title(finding), labels=False, ticks=False, grid=False, titlePadding=22
        ),
    )
    bar = (
        sheet.chart(draw.clipped(rows, scale))
        .mark_tick(orient="horizontal", size=22, thickness=2, color=draw.INK)
        .transform_aggregate(middle="median(y)", groupby=["x"])
        .transform_calculate(y="datum.middle")
        .encode(x=x, y=y)
    )
    max_characters = max(4, 48 // len(values))  # 48 fit into the width
    names = [
        {"x": i, "label": words.fitted(words.value(v), max_characters)}
        for i, v in enumerate(values)
    ]
    label = (
        sheet.chart(names)
        .mark_text(baseline="top", color=draw.MUTED)
        .encode(x=x, y=alt.value(_HEIGHT + 7), text="label:N")
    )
    return bar + _points(sheet, rows, x, y, scale) + label


def _strip_order(value: object) -> tuple[int, float, str]:
    """Sort key of values: numbers first, then texts."""
    if is_number(value):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _points(sheet: draw.Sheet, rows: list[dict[str, Any]], x: Any, y: Any, scale: Scale) -> Any:
    other_rows = [row for row in draw.inside(rows, scale) if not row["best"]]
    best_rows = [row for row in draw.inside(rows, scale) if row["best"]]
    marks = draw.dots(sheet, other_rows, x, y, 30, opacity=0.75) + draw.dots(
        sheet, best_rows, x, y, 110
    )
    return marks + draw.arrows(sheet, rows, x, y, scale)


def _median_line(sheet: draw.Sheet, rows: list[dict[str, Any]], x: Any, y: Any) -> Any:
    half_window = window(len(rows)) // 2
    return (
        sheet.chart(rows if len(rows) >= MIN_WINDOW else [])
        .mark_line(strokeWidth=1.5, color=draw.INK, opacity=0.7)
        .transform_window(
            middle="median(y)",
            frame=[-half_window, half_window],
            sort=[alt.SortField("x")],
            ignorePeers=True,
        )
        .transform_calculate(y="datum.middle")
        .encode(x=x, y=y)
    )
