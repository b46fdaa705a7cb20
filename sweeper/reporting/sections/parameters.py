"""Which learning rate and which rank? From the completed trials of each strategy.

Strategies are never pooled: their optima differ by an order of magnitude. "Within noise" is the
range of values whose trials cannot be told apart from the strategy's best on the same items. A
pair of trials that the search is judged by is told apart here where it is there.
Trials beyond a limit are never the best while others are within it.
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
from sweeper.findings.figures import Gain, Interval
from sweeper.findings.findings import Findings, Limitation, TrialRow
from sweeper.findings.study.paired_trials import (
    ComparedPair,
    ComparedPairs,
    Pair,
    compare_pairs,
)
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.strategy_figures import (
    default_against_best,
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
    placed,
)
from sweeper.reporting.charts import draw
from sweeper.reporting.charts.scales import Scale, fit, focus
from sweeper.reporting.document import Report
from sweeper.reporting.palette import look
from sweeper.reporting.parts import drawn, off_scale, strategy_cell
from sweeper.spec import Scalar

# "Within 10% of a bound": the best may lie outside the range.
NEAR_BOUND = 0.1
# Under this many completed trials an importance is noise.
TRIALS_FOR_IMPORTANCE = 20
# "Among the best" is the best quarter: of the twenty trials from which importances are shown, the
# five that Optuna's documentation asks for.
BEST_SHARE = 0.25
FOLDS = 5


class ParameterFinding(Record):
    """What the trials of one strategy say about one parameter."""

    strategy: str
    parameter: str
    log: bool
    unit: str = ""
    trials: int = Field(0, description="number of completed trials used for this")
    default: Scalar | None = None
    low: float | None = Field(
        None, description="of the allowed range; in a plan, `low` is of best practice"
    )
    high: float | None = Field(None, description="of the allowed range")
    best: Scalar
    best_trial: int | None = None
    within_noise: tuple[Scalar, ...] = Field(
        (), description="choices that these trials cannot distinguish"
    )
    within_noise_trials: int = 0
    within_noise_low: float | None = None
    within_noise_high: float | None = None
    at_edge: Literal["low", "high"] | None = None
    importance: Interval | None = None
    varied: bool = True


class EffectFinding(Gain):
    """A trial with the effect of a parameter and one without, compared on validation."""

    strategy: str
    parameter: str
    with_trial: int
    without_trial: int
    same_configuration: bool = Field(description="the two differ in nothing else")


class Figures(Record):
    """Every searched parameter of every strategy, and what those that may be off are worth."""

    parameters: tuple[ParameterFinding, ...]
    effects: tuple[EffectFinding, ...] = ()
    best_strategy: str = Field("", description="of the best trial within the limits")


def effect_findings(run: RunFiles) -> tuple[EffectFinding, ...]:
    """Every parameter with an off value, of each strategy that completed trials with both."""
    pairs = {name: off_pairs(run, name) for name in off_values(run)}
    # What the search compares is not compared a second time.
    compared = compare_pairs(gain_pairs(run), [pair for own in pairs.values() for pair in own])
    return tuple(
        _effect(run, name, pair, compared.of(*pair)) for name, own in pairs.items() for pair in own
    )


def _effect(run: RunFiles, name: str, pair: Pair, comparison: ComparedPair | None) -> EffectFinding:
    without, with_it = pair
    return EffectFinding(
        strategy=with_it.config.strategy,
        parameter=name,
        with_trial=with_it.config.number,
        without_trial=without.config.number,
        same_configuration=same_but_for(name, *pair),
        **(comparison.gain(run.margin) if comparison else {}),
    )


def parameter_findings(run: RunFiles, pairs: ComparedPairs) -> tuple[ParameterFinding, ...]:
    """Every searched parameter of every strategy that has a completed trial."""
    findings: list[ParameterFinding] = []
    for strategy in strategies_of(run):
        trials = [trial for trial in run.ranked if trial.config.strategy == strategy]
        candidate = next((c for c in run.plan.candidates if c.strategy == strategy), None)
        if trials and candidate is not None:
            kept = list(filter(run.is_within, trials)) or trials
            findings += _of_strategy(trials, kept, candidate, pairs)
    return tuple(findings)


def _of_strategy(
    trials: list[TrialFiles], kept: list[TrialFiles], candidate: Candidate, pairs: ComparedPairs
) -> list[ParameterFinding]:
    searched = {
        name: parameter
        for name, parameter in candidate.parameters.items()
        if parameter.searched and name in trials[0].config.parameters
    }
    weights: dict[str, Interval] = {}
    if len(trials) >= TRIALS_FOR_IMPORTANCE:
        weights = importances(
            [trial.config.parameters for trial in trials],
            [trial.cost for trial in trials],
            {name: parameter.log for name, parameter in searched.items()},
        )
    tied = [trial for trial in kept if _tied(trial, kept[0], pairs)]
    return [
        _finding(trials, tied, candidate.strategy, name, parameter, weights.get(name))
        for name, parameter in searched.items()
    ]


def _finding(
    trials: list[TrialFiles],
    tied: list[TrialFiles],
    strategy: str,
    name: str,
    parameter: Parameter,
    importance: Interval | None,
) -> ParameterFinding:
    best = tied[0].config.parameters[name]
    values = [t.config.parameters[name] for t in trials if name in t.config.parameters]
    near = [t.config.parameters[name] for t in tied if name in t.config.parameters]
    varied = len(set(values)) > 1
    comparable, numeric = varied and len(near) > 1, parameter.kind != "categorical"
    numbers = [float(value) for value in near if comparable and is_number(value)] if numeric else []
    choices = sorted(set(near), key=str) if comparable and not numeric else []
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
        best_trial=tied[0].config.number,
        within_noise=tuple(choices),
        within_noise_trials=len(near),
        within_noise_low=min(numbers, default=None),
        within_noise_high=max(numbers, default=None),
        at_edge=_edge(best, parameter) if varied else None,
        importance=importance if varied else None,
        varied=varied,
    )


def _tied(trial: TrialFiles, best: TrialFiles, pairs: ComparedPairs) -> bool:
    """Whether the paired interval of its losses against the best one's holds zero.

    The other pairs have nowhere else to agree with: t over the items of one training each, since
    drawing 500 trials' would take longer than the whole report may.
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
    """Which bound of the allowed range the best value lies within 10% of.

    A lower bound of 0 is the end of what a parameter can be, not of what was allowed.
    """
    low, high = parameter.bounds
    if low is None or high is None or not is_number(best) or high <= low:
        return None
    if parameter.log and low > 0:
        position = math.log(float(best) / low) / math.log(high / low)
    else:
        position = (float(best) - low) / (high - low)
    return "low" if position < NEAR_BOUND and low else "high" if position > 1 - NEAR_BOUND else None


def importances(
    rows: Sequence[Mapping[str, Scalar]], losses: Sequence[float], parameters: Mapping[str, bool]
) -> dict[str, Interval]:
    """The share of each parameter that varied in what decides whether a trial is among the best.

    By PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), with the range where each fifth of the
    trials is left out in turn, since a few trials decide such an estimate.

    Args:
        rows: One configuration a trial; one that lacks a parameter did not have it.
        losses: Their validation losses.
        parameters: Names, and whether each is on a log scale.

    Returns:
        Shares that add up to one; empty where nothing varied.
    """
    names = [name for name in parameters if len({row.get(name) for row in rows}) > 1]
    if not names:
        return {}
    distributions = {name: _distribution(rows, name, log=parameters[name]) for name in names}
    whole = _shares(rows, losses, distributions)
    parts = []
    for fold in range(min(FOLDS, len(rows))):
        kept = [i for i in range(len(rows)) if i % FOLDS != fold]
        parts.append(_shares([rows[i] for i in kept], [losses[i] for i in kept], distributions))
    return {
        name: Interval(
            value=whole.get(name, 0.0),
            low=min(part.get(name, 0.0) for part in [whole, *parts]),
            high=max(part.get(name, 0.0) for part in [whole, *parts]),
            n=FOLDS,
        )
        for name in names
    }


def _distribution(rows: Sequence[Mapping[str, Scalar]], name: str, *, log: bool) -> Any:
    values = [row[name] for row in rows if name in row]
    numbers = [value for value in values if is_number(value)]
    if len(numbers) < len(values):
        return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = float(min(numbers)), float(max(numbers))
    return FloatDistribution(low, high, log=log and low > 0)


def _shares(
    rows: Sequence[Mapping[str, Scalar]], losses: Sequence[float], distributions: Mapping[str, Any]
) -> dict[str, float]:
    # Not at the top: it loads scikit-learn, in 0.8 s, which a command without importances spares.
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for row, loss in zip(rows, losses, strict=True):
        params = {name: row[name] for name in distributions if name in row}
        used = {name: distributions[name] for name in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=used, value=loss))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        shares = get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in shares.items()}


# How many parameters of a strategy are drawn.
_PANELS = 3

_WIDTH = 262
_HEIGHT = 150
# A running median needs this many trials, and is over at least as many.
WINDOW = 5


# Fewer completed trials of a strategy show no pattern in a chart.
FEWEST_TRIALS = 8

HEADING = Heading(70, "hparams", "Hyperparameters")


def compute(run: RunFiles, findings: Findings) -> Figures:
    """What the trials of each strategy say of its parameters."""
    return Figures(
        parameters=parameter_findings(run, default_against_best(run)),
        effects=effect_findings(run),
        best_strategy=next((trial.config.strategy for trial in run.ranked), ""),
    )


def limits(figures: Figures, findings: Findings) -> Iterator[Limitation]:
    """Parameters whose best value lies at a bound, in the strategy of the best trial."""
    best = figures.best_strategy
    for finding in figures.parameters:
        if finding.strategy != best or finding.at_edge is None:
            continue
        bound = finding.low if finding.at_edge == "low" else finding.high
        side = "lower" if finding.at_edge == "low" else "upper"
        yield Limitation(
            id=f"bound-{finding.parameter}",
            text=f"{words.short(best)}: the best {finding.parameter} "
            f"({words.value(finding.best)}) is within 10% of its {side} bound "
            f"({words.value(bound)}); the optimum may be outside the range.",
            action=f"Widen the allowed range of {finding.parameter} in a rule folder of your "
            "own and run again with --new.",
        )


def finding(figures: Figures, report: Report) -> str:
    """The answer for the strategy with most trials; nothing from few trials."""
    answers = [*_drawn_strategies(figures)]
    if not answers:
        many = any(p.trials >= FEWEST_TRIALS for p in figures.parameters)
        nothing = "No searched parameter varied." if many else ""
        return " ".join(_effects(figures, report.findings)) or nothing
    main = max(answers, key=lambda strategy: _trials(figures, strategy))
    return _answer(_main(_chosen(figures.parameters, main)))


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """A figure for each strategy, then a table of all parameters that were searched."""
    parameters = figures.parameters
    for strategy in _drawn_strategies(figures):
        figure = _figure(report.findings, parameters, strategy)
        if figure is not None:
            yield figure
    yield _table(parameters)
    sentences = [*_effects(figures, report.findings)]
    if not any(p.importance for p in parameters):
        message = f"Importances need {TRIALS_FOR_IMPORTANCE} completed trials of one strategy; "
        sentences.append(f"{message}with fewer they are noise.")
    yield Text(tuple(sentences))


def _trials(figures: Figures, strategy: str) -> int:
    return max(p.trials for p in figures.parameters if p.strategy == strategy)


def _drawn_strategies(figures: Figures) -> Iterator[str]:
    """The strategies with enough trials for charts, and a parameter that varied."""
    for strategy in dict.fromkeys(p.strategy for p in figures.parameters if p.varied):
        if _trials(figures, strategy) >= FEWEST_TRIALS:
            yield strategy


def _main(chosen: list[ParameterFinding]) -> ParameterFinding:
    return next((p for p in chosen if p.within_noise_low is not None), chosen[0])


def _effects(figures: Figures, findings: Findings) -> Iterator[str]:
    """Did it pay? Each comparison of a trial with the effect of a parameter and one without."""
    metric = findings.objective
    for effect in figures.effects:
        outcome = words.outcome(effect, findings.margin_points / 100)
        outcome = outcome if effect.outcome else "not compared"
        pair = "otherwise the same" if effect.same_configuration else "the best of each"
        if effect.lacking == "seeds":
            pair += "; the interval covers the choice of items only"
        gap = words.better_by(effect.gain, metric) if effect.gain else words.DASH
        yield (
            f"{effect.parameter}, {words.strategy(effect.strategy)}: {metric.title} with it "
            f"against without: {gap}: {outcome} "
            f"(trial {effect.with_trial} against trial {effect.without_trial}, {pair})."
        )


def _figure(
    findings: Findings, parameters: tuple[ParameterFinding, ...], strategy: str
) -> Figure | None:
    """Panels of one strategy, all on the same vertical scale: strategies are never pooled."""
    chosen = _chosen(parameters, strategy)
    trials = [t for t in findings.trials if t.strategy == strategy]
    values = [t.objective for t in trials if t.objective is not None]
    scale = focus(values, higher_is_better=findings.objective.higher_is_better)
    drawings = [parameter_panel(findings, p, scale, _answer(p)) for p in chosen]
    own = [p for p in parameters if p.strategy == strategy]
    panels = drawn(*drawings, importance_panel(own))
    if not panels:
        return None
    main = _main(chosen)
    note = "Large: the best trial."
    if main.within_noise_low is not None:
        note += " Shaded: values whose trials cannot be told apart from it on the same items."
    if len(values) >= WINDOW:
        note += f" Line: running median over {window(len(values))} trials."
    if any(is_strip(p, trials) for p in chosen):
        note += " Bars: medians."
    if any(p.importance for p in own):
        note += " Importance: whiskers are its range when a fifth of the trials is left out."
    note += off_scale(findings, trials, scale)
    return Figure(
        id=f"parameters-{strategy}",
        finding=_answer(main),
        note=note,
        panels=panels,
        legend=draw.legend([strategy]),
    )


def _chosen(parameters: tuple[ParameterFinding, ...], strategy: str) -> list[ParameterFinding]:
    own = [p for p in parameters if p.strategy == strategy and p.varied]
    own.sort(key=lambda p: [*KEY_PARAMETERS, p.parameter].index(p.parameter))
    return own[:_PANELS]


def _answer(finding: ParameterFinding) -> str:
    """The answer for one parameter in a sentence."""
    name = words.sentence(f"{words.strategy(finding.strategy)}, {finding.parameter}")
    best = (
        f"best of {units.plural(finding.trials, 'completed trial')} at {words.value(finding.best)}"
    )
    low, high = finding.within_noise_low, finding.within_noise_high
    if low is not None:
        return f"{name}: {best}; {words.span(low, high)} cannot be told apart."
    return f"{name}: {best}."


def _table(parameters: tuple[ParameterFinding, ...]) -> Table:
    columns: list[Column[ParameterFinding]] = [
        Column.of("strategy", "/strategy", strategy_cell),
        Column.of("parameter", "/parameter"),
        Number.of("best", "/best", words.value),
        Number.of("default", "/default", words.value),
        Column("within noise of the best", _within),
        Column("allowed range", lambda p: words.span(p.low, p.high)),
        Number.of("completed trials", "/trials"),
    ]
    if any(p.importance for p in parameters):
        unit = "share; range when a fifth of the trials is left out"
        columns.append(Number("importance", lambda p: _importance(p.importance), "", unit))
    columns.append(Column("remark", _remark))
    return Table.of(
        "parameter-table",
        "Every searched parameter",
        columns,
        placed(parameters, "/sections/hparams/parameters"),
        trial=lambda p: p.best_trial,
    )


def _within(finding: ParameterFinding) -> str:
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
        side = "lower" if finding.at_edge == "low" else "upper"
        return f"best within 10% of the {side} bound: the optimum may be outside the range"
    return ""


def parameter_panel(
    findings: Findings, finding: ParameterFinding, scale: Scale, description: str
) -> Drawing | None:
    """The objective against one parameter of one strategy; choices and ranks as strips."""
    trials = [
        t
        for t in findings.trials
        if t.strategy == finding.strategy
        and t.objective is not None
        and finding.parameter in t.parameters
    ]
    if not trials or not finding.varied:
        return None
    sheet = draw.Sheet()
    named = words.on_validation(findings.objective)
    y = scale.y(4, title=named)
    chart = (_strip if is_strip(finding, trials) else _scatter)(sheet, trials, finding, y, scale)
    title = f"{words.short(finding.strategy)}: {named} by {finding.parameter}"
    return sheet.draw(chart, (_WIDTH, _HEIGHT), title, description)


def importance_panel(own: list[ParameterFinding]) -> Drawing | None:
    """How much each parameter of one strategy matters; None under the trials that this needs."""
    shares = [(p.parameter, p.importance) for p in own if p.importance is not None]
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
    along = {name: alt.X(f"{name}:Q", scale=scale.altair()) for name in ("low", "zero")}
    y = alt.Y("y:Q", scale=alt.Scale(domain=[len(rows) - 0.6, -0.7], nice=False), axis=None)
    bars = sheet.chart(rows).mark_bar(height=7, color=look(own[0].strategy).color, opacity=0.55)
    whiskers = sheet.chart(rows).mark_rule(strokeWidth=1.25, color=draw.INK)
    labels = sheet.chart(rows).mark_text(align="left", dy=-11, baseline="middle", color=draw.INK)
    chart = (
        bars.encode(x=scale.x(4, title="importance (share)", grid=False), x2="zero:Q", y=y)
        + whiskers.encode(x=along["low"], x2="high:Q", y=y)
        + labels.encode(x=along["zero"], y=y, text="label:N")
    )
    title = f"{words.short(own[0].strategy)}: importance of parameters"
    largest = f"{shares[0][0]} decides most whether a trial is among the best."
    return sheet.draw(chart, (_WIDTH, max(60, 30 * len(rows))), title, largest)


def is_strip(finding: ParameterFinding, trials: list[TrialRow]) -> bool:
    """Whether a parameter is drawn as strips: choices, and numbers with few distinct values."""
    values = {t.parameters[finding.parameter] for t in trials if finding.parameter in t.parameters}
    number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    whole = all(isinstance(v, int) for v in values)
    return not number or (whole and len(values) <= 12)


def window(trials: int) -> int:
    """The width of a running median: a tenth of the trials, an odd number.

    >>> window(6), window(125)
    (5, 13)
    """
    return max(WINDOW, trials // 10 | 1)


def _title(finding: ParameterFinding) -> str:
    return f"{finding.parameter} ({finding.unit})" if finding.unit else finding.parameter


def _mark(trial: TrialRow, finding: ParameterFinding, x: Any) -> dict[str, Any]:
    best = trial.number == finding.best_trial
    return draw.row_of(trial.strategy, trial.number, x=x, y=trial.objective, best=best)


def _scatter(
    sheet: draw.Sheet, trials: list[TrialRow], finding: ParameterFinding, y: Any, scale: Scale
) -> Any:
    rows = [_mark(t, finding, float(t.parameters[finding.parameter])) for t in trials]
    x_scale = fit([row["x"] for row in rows], log=finding.log or None, pad=0.08)
    numbers = "~e" if x_scale.log and x_scale.low < 0.01 else ".3~r"
    x = x_scale.x(5, format=numbers, title=_title(finding), grid=False)
    chart = _median(sheet, draw.clipped(rows, scale), x, y) + _points(sheet, rows, x, y, scale)
    low, high = finding.within_noise_low, finding.within_noise_high
    if low is not None and high is not None:
        band = [{"x": x_scale.clip(low), "x2": x_scale.clip(high)}]
        shade = (
            sheet.chart(band)
            .mark_rect(color=look(finding.strategy).color, opacity=0.13)
            .encode(x=x, x2="x2:Q")
        )
        chart = shade + chart
    return chart


def _strip(
    sheet: draw.Sheet, trials: list[TrialRow], finding: ParameterFinding, y: Any, scale: Scale
) -> Any:
    """One column for each value, with its median. Rows are users' texts: only ever data."""
    values = sorted({t.parameters[finding.parameter] for t in trials}, key=_strip_order)
    columns = {value: index for index, value in enumerate(values)}
    rows = [_mark(t, finding, columns[t.parameters[finding.parameter]]) for t in trials]
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
    room = max(4, 48 // len(values))
    names = [{"x": i, "label": words.fitted(words.value(v), room)} for i, v in enumerate(values)]
    label = (
        sheet.chart(names)
        .mark_text(baseline="top", color=draw.MUTED)
        .encode(x=x, y=alt.value(_HEIGHT + 7), text="label:N")
    )
    return bar + _points(sheet, rows, x, y, scale) + label


def _strip_order(value: object) -> tuple[int, float, str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (0, float(value), "")
    return (1, 0.0, str(value))


def _points(sheet: draw.Sheet, rows: list[dict[str, Any]], x: Any, y: Any, scale: Scale) -> Any:
    small = [row for row in draw.inside(rows, scale) if not row["best"]]
    large = [row for row in draw.inside(rows, scale) if row["best"]]
    drawn = draw.dots(sheet, small, x, y, 30, opacity=0.75) + draw.dots(sheet, large, x, y, 110)
    return drawn + draw.arrows(sheet, rows, x, y, scale)


def _median(sheet: draw.Sheet, rows: list[dict[str, Any]], x: Any, y: Any) -> Any:
    half = window(len(rows)) // 2
    return (
        sheet.chart(rows if len(rows) >= WINDOW else [])
        .mark_line(strokeWidth=1.5, color=draw.INK, opacity=0.7)
        .transform_window(
            middle="median(y)", frame=[-half, half], sort=[alt.SortField("x")], ignorePeers=True
        )
        .transform_calculate(y="datum.middle")
        .encode(x=x, y=y)
    )
