"""The report's section on how scores of the winner and its default depend on training rows.

error(rows) = level + slope x (rows ^ -exponent - 1) / exponent: a power law with a limit; for
exponent 0, a straight line in log(rows); below 0, gains grow with each doubling. Exponents are
weighted by their fit to the trainings. Trainings on more rows vary less and weigh more. Level and
slope are drawn from their t distributions. So the interval covers the uncertain shape of the curve,
the noise of seeds and, by resampling, the noise of the validation items.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from sweeper.artifact import Record
from sweeper.features.data_curve.facts import part_sizes
from sweeper.features.parts import Heading
from sweeper.findings import words
from sweeper.findings.findings import Findings, Interval, Metric, NextStep, NotMeasured
from sweeper.findings.study.metric import loss_metric
from sweeper.findings.study.reading import RunFiles, SeedRun, TrialFiles
from sweeper.reporting.blocks import (
    Block,
    Column,
    Drawing,
    Figure,
    Number,
    Table,
    existing_panels,
    strategy_cell,
    with_json_pointers,
)
from sweeper.reporting.charts import draw, scales
from sweeper.reporting.document import Report
from sweeper.traits.traits import StrategyOnModel

Floats = NDArray[np.float64]

# The probability that an interval covers the true value.
LEVEL = 0.9
# On much data exponents lie between 0.07 and 0.35 (Hestness et al. 2017, arXiv:1712.00409); those
# of a head on frozen features reach 1 (benchmarks/data_curve).
_EXPONENTS = np.linspace(-1.0, 1.5, 51)
# Prior weight of an exponent with growing gains; 1 for others. Gains usually grow only where few
# rows teach a model next to nothing (benchmarks/data_curve).
_GROWING_GAIN_WEIGHT = 0.3
# The noise of seeds falls with about this power of the rows: from an eighth to half of them by a
# factor of 0.61 (the power 0.36) for a head on frozen features, and of 0.71 (0.25) for a head and
# the last layer (benchmarks/data_curve).
_NOISE_POWER = 0.25
# Mean correlation of the errors of two trainings with the same seed, one on a part of the rows and
# one on a part twice as large, which contains it (benchmarks/data_curve).
_CORRELATION_PER_DOUBLING = 0.27
# Draws of curves in all.
_DRAWS = 20_000
# Resamples of the validation items; each is fitted and gives an equal share of the draws.
_RESAMPLES = 100
# A line fits any two sizes, so a curve needs three.
_MIN_SIZES = 3
# Points of the band up to all rows, and from there to twice as many.
_BAND_POINTS, _FORECAST_POINTS = 19, 7


class DataPoint(Record):
    """The validation scores of one configuration's trainings on ``rows`` rows."""

    rows: int
    scores: tuple[float, ...]


class DataBand(Record):
    """The expected score with ``rows`` training rows, and its 90% interval.

    With more rows than there are, it is a forecast: the score with all rows plus the expected gain.
    The interval is then that of the gain.
    """

    rows: int
    value: float
    low: float
    high: float


class DataCurve(Record):
    """The trainings and the fitted curve of one configuration."""

    trial: int
    strategy: StrategyOnModel
    default: bool
    points: tuple[DataPoint, ...]
    band: tuple[DataBand, ...]
    twice: Interval = Field(
        description="what twice the rows would bring, with a 90% interval; positive is a gain"
    )
    seen: bool = Field(description="whether the whole interval of ``twice`` is above 0")


class Figures(Record):
    """The data curves. Scores are those of ``metric`` on the validation split."""

    metric: Metric
    rows: int = Field(description="rows that a trial of the search trains on")
    items: int | None = Field(None, description="number of validation items")
    curves: tuple[DataCurve, ...] = Field(description="the winner first, then its default")
    sentences: tuple[str, ...] = Field(description="what twice the rows would bring comes first")
    decision: str = Field("", description="why a curve was made that was not requested")

    @property
    def sentence(self) -> str:
        """All sentences in one text."""
        return " ".join(self.sentences)


@dataclass(frozen=True)
class Curves:
    """Draws of a curve's parameters, each of shape (draws,).

    Args:
        levels: Error where the transformed rows are ``centers``.
        slopes: Change of the error with the transformed rows.
        fewest: Smallest number of rows, by which rows are divided.
    """

    levels: Floats
    slopes: Floats
    exponents: Floats
    centers: Floats
    fewest: float

    def at(self, rows: float) -> Floats:
        """The expected error with ``rows`` rows, shape (draws,)."""
        transformed = _transformed_rows(rows / self.fewest, self.exponents) - self.centers
        return np.asarray(
            np.maximum(self.levels + self.slopes * transformed, 0.0), dtype=np.float64
        )


def fit(
    rows: ArrayLike,
    seeds: ArrayLike,
    errors: ArrayLike,
    rng: np.random.Generator,
    draws: int = _DRAWS,
) -> Curves:
    """Draw curves that fit trainings.

    Args:
        rows: Training rows of each training, of at least three sizes; shape (trainings,).
        seeds: Seed of each training, once for each size; shape (trainings,).
        errors: Error of each training, 0 or more; shape (trainings,).
    """
    counts, observed = np.asarray(rows, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    fewest, dof = float(counts.min()), observed.size - 2
    transformed = _transformed_rows(counts / fewest, _EXPONENTS[:, None])
    # Generalised least squares: whitened, all trainings have the same variance and no correlation.
    whitening = np.linalg.inv(np.linalg.cholesky(_covariance(counts, np.asarray(seeds))))
    ones, observed = whitening.sum(axis=1), whitening @ observed
    transformed = transformed @ whitening.T
    ones_square = float(ones @ ones)
    mean, center = float(observed @ ones) / ones_square, transformed @ ones / ones_square
    x, y = transformed - np.outer(center, ones), observed - mean * ones
    squares = (x * x).sum(axis=1)
    slope = x @ y / squares
    squared_errors = ((y - slope[:, None] * x) ** 2).sum(axis=1) + 1e-12
    log_prior = np.where(_EXPONENTS < 0, np.log(_GROWING_GAIN_WEIGHT), 0.0)
    log_weights = -dof / 2 * np.log(squared_errors) + log_prior
    weights = np.exp(log_weights - log_weights.max())
    draw_indices = rng.choice(weights.size, size=draws, p=weights / weights.sum())
    noise = np.sqrt(squared_errors[draw_indices] / rng.chisquare(dof, size=draws))
    first, second = rng.standard_normal((2, draws))
    return Curves(
        levels=mean + noise / np.sqrt(ones_square) * first,
        slopes=slope[draw_indices] + noise / np.sqrt(squares[draw_indices]) * second,
        exponents=_EXPONENTS[draw_indices],
        centers=center[draw_indices],
        fewest=fewest,
    )


def _covariance(rows: Floats, seeds: NDArray[np.int64]) -> Floats:
    """Covariance of the noise of trainings, up to a factor; shape (trainings, trainings)."""
    doublings = np.abs(np.log2(rows[:, None] / rows))
    shared = np.where(seeds[:, None] == seeds, _CORRELATION_PER_DOUBLING**doublings, 0.0)
    spread = (rows / rows.mean()) ** -_NOISE_POWER
    return np.asarray(shared * np.outer(spread, spread), dtype=np.float64)


def _transformed_rows(rows: ArrayLike, exponents: Floats) -> Floats:
    """(rows ^ -exponent - 1) / exponent (Box and Cox 1964), which is -log(rows) at 0."""
    safe = np.where(np.abs(exponents) < 1e-9, 1e-9, exponents)
    return np.asarray(np.expm1(-safe * np.log(rows)) / safe, dtype=np.float64)


def data_need(run: RunFiles, headline: Metric, winner: int | None) -> Figures | NotMeasured:
    """The curves of the winner and its default, or why there are none."""
    trials = [trial for trial in run.trials if trial.parts]
    trials.sort(key=lambda trial: trial.config.number != winner)
    metric = _metric(trials, headline, loss_metric(run.plan.facts))
    if metric is not headline and not run.plan.objective.is_loss:
        return NotMeasured(
            reason=f"Trials are compared by {run.plan.objective.title}, which has no score for "
            "each item. A data curve needs a loss, or a metric with a score for each item."
        )
    rows = run.plan.searched_rows
    curves = [curve for trial in trials if (curve := _curve(trial, rows, metric)) is not None]
    if not part_sizes(rows):
        return NotMeasured(reason=f"{rows:,} training rows are too few to train on parts of them.")
    if not curves:
        count = sum(len(trial.parts) for trial in trials)
        return NotMeasured(
            reason=f"Too few trainings on parts of the rows for a curve: {count}."
            if count
            else "No configuration was trained on parts of the rows, so this study cannot say what "
            "more rows would bring.",
            command=f"sweeper run {run.folder.quoted}/sweep.yaml --data-curve",
        )
    items = next(
        (training.items for training in trials[0].trainings() if training.items is not None), None
    )
    return Figures(
        metric=metric,
        rows=rows,
        items=items.costs.size if items is not None else None,
        curves=tuple(curves),
        sentences=tuple(_sentences(curves, rows, metric)),
    )


def _metric(trials: Sequence[TrialFiles], headline: Metric, loss: Metric) -> Metric:
    """The headline metric if each item of each training has its score, else the loss."""
    # Row counts and repeats do not matter here.
    runs = [run for trial in trials for _, run in _trainings(trial, rows=0)]
    scored = headline.unit == "points" and all(
        run.items is not None
        and abs(float(run.items.scores.mean()) - run.result.metrics.get(headline.name, -1)) < 1e-6
        for run in runs
    )
    return headline if scored else loss


def _trainings(trial: TrialFiles, rows: int) -> Iterator[tuple[int, SeedRun]]:
    """Each training of a trial with its number of rows, once per seed and size.

    Args:
        rows: Rows that a trial of the search trains on.
    """
    for run in trial.trainings():
        yield rows, run
    seeds = {run.result.seed for run in trial.trainings()}
    for count, run in trial.parts:
        if run.result.state == "COMPLETE" and not (count == rows and run.result.seed in seeds):
            yield count, run


def _curve(trial: TrialFiles, rows: int, metric: Metric) -> DataCurve | None:
    runs = sorted(
        _trainings(trial, rows), key=lambda training: (training[0], training[1].result.seed)
    )
    counts = np.array([count for count, _ in runs], dtype=np.float64)
    seeds = [run.result.seed for _, run in runs]
    unique_sizes = np.unique(counts)
    if unique_sizes.size < _MIN_SIZES or counts.size < 2 * _MIN_SIZES:
        return None
    errors, weights = _errors(runs, metric)
    rng = np.random.default_rng(0)
    fits = [
        fit(counts, seeds, errors @ share, rng, _DRAWS // _RESAMPLES)
        for share in _resampled_weights(weights, rng)
    ]
    means = errors @ (weights / weights.sum())
    trained_on = np.geomspace(counts.min(), rows, _BAND_POINTS)
    band = [
        (row_count, _interval(np.concatenate([curves.at(row_count) for curves in fits])))
        for row_count in trained_on
    ]
    # With more rows than there are, the band shows the gain, so that its end is the gain in the
    # sentence.
    error_now = band[-1][1].value
    for row_count in np.geomspace(rows, 2 * rows, _FORECAST_POINTS):
        gains = np.concatenate([curves.at(rows) - curves.at(row_count) for curves in fits]).clip(
            max=error_now
        )
        band.append((row_count, _interval(error_now - gains)))
    gain = _interval(gains)
    return DataCurve(
        trial=trial.config.number,
        strategy=trial.config.strategy,
        default=trial.config.origin == "default",
        points=tuple(
            DataPoint(
                rows=int(size),
                scores=tuple(_score(float(mean), metric) for mean in means[counts == size]),
            )
            for size in unique_sizes
        ),
        band=tuple(_band_point(round(row_count), interval, metric) for row_count, interval in band),
        twice=gain,
        seen=gain.low is not None and gain.low > 0,
    )


def _errors(runs: Sequence[tuple[int, SeedRun]], metric: Metric) -> tuple[Floats, Floats]:
    """Errors of items, shape (trainings, items), and the weights of the items."""
    items = [run.items for _, run in runs]
    sizes = {item.costs.size if item is not None else 0 for item in items}
    if len(sizes) > 1 or 0 in sizes:  # without the errors of all items, use the mean losses
        losses = [[run.result.validation_loss or 0.0] for _, run in runs]
        return np.array(losses), np.ones(1)
    present = [item for item in items if item is not None]
    if metric.unit == "points":
        return np.stack([1 - item.scores for item in present]), np.ones(present[0].scores.size)
    return np.stack([item.costs for item in present]), present[0].weights


def _resampled_weights(weights: Floats, rng: np.random.Generator) -> Iterator[Floats]:
    """Weights of the items in each resample, which add up to 1."""
    for _ in range(_RESAMPLES):
        sample = rng.multinomial(weights.size, np.full(weights.size, 1 / weights.size)) * weights
        yield sample / sample.sum() if sample.sum() > 0 else weights / weights.sum()


def _interval(draws: Floats) -> Interval:
    low, value, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    return Interval(value=float(value), low=float(low), high=float(high))


def _score(error: float, metric: Metric) -> float:
    return 1 - error if metric.unit == "points" else error


def _band_point(rows: int, interval: Interval, metric: Metric) -> DataBand:
    assert interval.low is not None
    assert interval.high is not None
    ends = sorted(_score(max(end, 0.0), metric) for end in (interval.low, interval.high))
    return DataBand(rows=rows, value=_score(interval.value, metric), low=ends[0], high=ends[1])


def _sentences(curves: Sequence[DataCurve], rows: int, metric: Metric) -> Iterator[str]:
    first_curve, *other_curves = curves
    role = "the default" if first_curve.default else "the winner"
    yield f"Twice the data ({2 * rows:,} rows to train on) {_gain_text(first_curve, role, metric)}."
    half, full = first_curve.points[-2:] if first_curve.points[-1].rows == rows else (None, None)
    if half is not None and full is not None and half.rows == rows // 2:
        gain = float(np.mean(full.scores) - np.mean(half.scores))
        gain = gain if metric.higher_is_better else -gain
        yield f"Going from half of the rows to all of them brought {_amount(gain, metric)}."
    for curve in other_curves:
        yield f"Twice the data {_gain_text(curve, 'its default', metric)}."


def _gain_text(curve: DataCurve, role: str, metric: Metric) -> str:
    """The gain in words: ``would bring the winner (trial 3, LoRA) 1.2 points of ...``."""
    model = f"{role} (trial {curve.trial}, {words.short(curve.strategy)})"
    low, high = curve.twice.low or 0.0, curve.twice.high or 0.0
    ends = f"90% interval {_number(low, metric)} to {_number(high, metric)}"
    gain = f"{_amount(curve.twice.value, metric)} ({ends})"
    prefix = "" if curve.seen else "no clear gain: "
    return f"would bring {model} {prefix}{gain}"


def _amount(gain: float, metric: Metric) -> str:
    quantity = f"{metric.unit} less validation loss"
    if metric.unit == "points":
        quantity = f"points of {words.on_validation(metric)}"
    return f"{_number(gain, metric)} {quantity}"


def _number(gain: float, metric: Metric) -> str:
    return words.minus(f"{100 * gain:.1f}" if metric.unit == "points" else f"{gain:.2g}")


_WIDTH, _HEIGHT = 560, 300
# Space for a label right of the curve's end, as a factor of the rows.
_LABEL_ROOM = 1.9
_DEFAULT_DASH = [4, 3]


HEADING = Heading(80, "data-need", "How much data")


def compute(run: RunFiles, findings: Findings) -> Figures | NotMeasured:
    """The data curve of the winner and its default."""
    need = data_need(run, findings.metric, findings.verdict.recommended_trial)
    # Why the phase was run or left out, if that was decided.
    phase_decision = run.status.optional_phases.get("data_curve") if run.status else None
    decision = f"{words.sentence(phase_decision.text)}." if phase_decision else ""
    if isinstance(need, NotMeasured):
        return need.model_copy(update={"reason": f"{need.reason} {decision}".rstrip()})
    return need.model_copy(update={"decision": decision})


def finding(figures: Figures, report: Report) -> str:
    """The sentence on the gain of twice the rows."""
    return figures.sentences[0]


def card(figures: Figures, findings: Findings) -> list[str]:
    """The sentences for the model card."""
    return [figures.sentence]


def advise(figures: Figures, findings: Findings) -> NextStep | None:
    """The advice to add rows, if twice the rows would bring at least the margin."""
    curve = figures.curves[0]
    if not curve.seen or curve.twice.value < findings.margin:
        return None
    because = (
        f"{figures.sentence} Give more rows with --data, and --new (this run is kept, renamed)."
    )
    return NextStep(kind="more-data", because=because)


def blocks(figures: Figures, report: Report) -> Iterator[Block]:
    """The chart and the table of the trainings."""
    yield Figure(
        id="data-curve",
        finding=figures.sentence,
        note=f"{_note(figures)} {figures.decision}".rstrip(),
        panels=existing_panels(data_chart(figures, figures.sentence)),
        tables=(_table(figures),),
    )


def _note(figures: Figures) -> str:
    items = f"{figures.items:,} validation items" if figures.items else "the validation split"
    return (
        f"Points are trainings, each scored on {items}. A training on fewer rows has as many "
        "epochs, so its tokens are in proportion. Its rows have the same shares of classes, and "
        "with the same seed a larger part contains the smaller ones. Line and band: expected "
        "score with its 90% interval, from a power law in the rows. For more rows than there are, "
        "both are a forecast: the expected score with all rows plus the gain of more rows of the "
        "same kind, with the interval of that gain. The heading gives the gain at twice the rows."
    )


def _table(figures: Figures) -> Table:
    columns: list[Column[tuple[DataCurve, DataPoint]]] = [
        Number("trial", lambda row: f"#{row[0].trial}"),
        Column("strategy", lambda row: strategy_cell(row[0].strategy)),
        Number("rows", lambda row: f"{row[1].rows:,}", "/rows"),
        Number("seeds", lambda row: str(len(row[1].scores))),
        Number("mean", lambda row: words.score(fmean(row[1].scores), figures.metric)),
        Number("lowest", lambda row: words.score(min(row[1].scores), figures.metric)),
        Number("highest", lambda row: words.score(max(row[1].scores), figures.metric)),
    ]
    rows = [
        (pointer, (curve, point))
        for curve_pointer, curve in with_json_pointers(figures.curves, "/sections/data-need/curves")
        for pointer, point in with_json_pointers(curve.points, f"{curve_pointer}/points")
    ]
    caption = f"Validation {figures.metric.title} by training rows"
    return Table.of("data-points", caption, columns, rows, trial=lambda row: row[0].trial)


def data_chart(figures: Figures, description: str) -> Drawing:
    """A chart of every curve with its band up to twice the rows, and a line at all rows."""
    in_percent = figures.metric.unit == "points"
    factor = 100 if in_percent else 1
    rows = [_chart_rows(figures, index, factor) for index in range(len(figures.curves))]
    points = [point for _, trainings in rows for point in trainings]
    band = [point for curve, _ in rows for point in curve]
    scores = [point["y"] for point in [*points, *band]]
    # A wide band must not squeeze the points: it gets half of their span at either end.
    extra_span = (max(scores) - min(scores)) / 2
    ends = [end for point in band for end in (point["low"], point["high"])]
    ends_in_view = [
        end for end in ends if min(scores) - extra_span <= end <= max(scores) + extra_span
    ]
    y_scale = scales.fit([*scores, *ends_in_view], log=False)
    counts = [point["x"] for point in [*points, *band]]
    x_scale = scales.Scale(min(counts) / 1.1, max(counts) * _LABEL_ROOM, log=True)
    title = f"{figures.metric.title}, %" if in_percent else f"loss, {figures.metric.unit}"
    better_direction = "higher" if figures.metric.higher_is_better else "lower"
    x = alt.X("x:Q", scale=x_scale.altair(), axis=_axis(figures, x_scale))
    y = y_scale.y(title=f"validation {title} ({better_direction} is better)")
    sheet = draw.Sheet()
    for point in band:
        point["low"], point["high"] = y_scale.clip(point["low"]), y_scale.clip(point["high"])
    label = "all training rows"
    chart = draw.vertical_rule(sheet, x, figures.rows, label, left=True, strokeDash=[2, 3])
    for curve, _ in rows:
        area = sheet.chart(curve).mark_area(opacity=0.18)
        lower_end = alt.Y("low:Q", scale=y_scale.altair())
        chart = chart + area.encode(x=x, y=lower_end, y2="high:Q", color=draw.COLOR)
        chart = chart + draw.lines(sheet, curve, x, y, strokeWidth=2)
    chart = chart + draw.marks(sheet, points, x, y, size=46)
    ends = [curve[-1] for curve, _ in rows]
    chart = chart + draw.end_labels(sheet, ends, x, y_scale, _HEIGHT, dx=8, color=draw.INK)
    title = "Validation score by training rows"
    return sheet.draw(chart, (_WIDTH, _HEIGHT), title, description, wide=True)


def _axis(figures: Figures, scale: scales.Scale) -> Any:
    sizes = sorted({point.rows for curve in figures.curves for point in curve.points})
    ticks = [float(size) for size in (*sizes, 2 * figures.rows) if scale.low <= size <= scale.high]
    return alt.Axis(values=ticks, format=",d", grid=False, title="training rows")


def _chart_rows(
    figures: Figures, index: int, factor: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Chart rows for one curve's band, and for its trainings."""
    curve = figures.curves[index]
    is_default = index > 0
    label = f"{words.short(curve.strategy)} #{curve.trial}{', default' if is_default else ''}"
    style = draw.row_of(curve.strategy, curve.trial, label=label, dash=[1, 0])
    style["fill"] = style["color"]
    if is_default:
        style |= {"color": draw.MUTED, "fill": draw.PAPER, "dash": _DEFAULT_DASH}
    band = [
        {
            "x": value.rows,
            "y": factor * value.value,
            "low": factor * value.low,
            "high": factor * value.high,
            **style,
        }
        for value in curve.band
    ]
    points = [
        {"x": point.rows, "y": factor * score, **style}
        for point in curve.points
        for score in point.scores
    ]
    return band, points
