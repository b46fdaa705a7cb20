"""Scores, differences, strategies and parameters as text; figures are rounded to their interval."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sweeper import units
from sweeper.findings.findings import Comparison, Gain, Interval, Metric
from sweeper.hyperparameters import EPOCHS, SHORT_NAMES
from sweeper.plans import Parameter
from sweeper.spec import Scalar
from sweeper.traits.traits import StrategyOnModel

DASH = "–"


def strategy(pair: StrategyOnModel) -> str:
    """A strategy's name in a sentence, with its base model if several compete.

    A strategy that is not installed is shown by its name in the plan.

    >>> strategy(StrategyOnModel("lora")), strategy(StrategyOnModel("my-method"))
    ('LoRA', 'my-method')
    >>> strategy(StrategyOnModel("full", "packaged:minilm"))
    'full fine-tuning of minilm'
    """
    text = pair.traits.in_a_sentence if pair.traits else pair.strategy
    return f"{text} of {base_model(pair.model)}" if pair.model else text


def base_model(name: str) -> str:
    """The last part of a base model's name.

    >>> base_model("packaged:minilm"), base_model("HuggingFaceTB/SmolLM2-135M")
    ('minilm', 'SmolLM2-135M')
    """
    return name.removeprefix("packaged:").rstrip("/").rpartition("/")[2]


def short(pair: StrategyOnModel) -> str:
    """A strategy's name in a table or a chart.

    >>> short(StrategyOnModel("qlora")), short(StrategyOnModel("lora", "packaged:minilm"))
    ('QLoRA', 'LoRA minilm')
    """
    label = pair.traits.label if pair.traits else pair.strategy
    return f"{label} {base_model(pair.model)}" if pair.model else label


def sentence(text: str) -> str:
    """A text that begins a sentence.

    >>> sentence("full fine-tuning wins."), sentence("LoRA wins.")
    ('Full fine-tuning wins.', 'LoRA wins.')
    """
    return text[:1].upper() + text[1:]


def fitted(text: str, room: int) -> str:
    """A text cut to ``room`` characters.

    >>> fitted("all-linear", 6), fitted("r", 6)
    ('all-l…', 'r')
    """
    return text if len(text) <= room else f"{text[: room - 1]}…"


def failure(kind: str) -> str:
    """The kind of a failure in words.

    >>> failure("out-of-memory")
    'out of memory'
    """
    return kind.replace("-", " ")


def digits_for(half_width: float) -> int:
    """Meaningful decimal places of a figure, by the half-width of its interval.

    >>> digits_for(2.4), digits_for(0.31), digits_for(0.004)
    (1, 2, 4)
    """
    if not math.isfinite(half_width) or half_width <= 0:
        return 3
    return max(0, min(6, 1 - math.floor(math.log10(half_width))))


def score(value: float | None, metric: Metric, interval: Interval | None = None) -> str:
    """One score of a metric; shares as per cent.

    >>> metric = Metric(name="accuracy", title="accuracy", higher_is_better=True, unit="points")
    >>> score(0.9412, metric)
    '94.1%'
    """
    if value is not None and math.isfinite(value) and metric.unit == "points":
        return f"{100 * value:.1f}%"
    return number(value, interval)


def in_percent(interval: Interval) -> str:
    """A share with its interval in per cent.

    >>> in_percent(Interval(value=0.8, low=0.49, high=0.943))
    '80% (49 to 94)'
    """
    low, high = interval.low or 0.0, 1.0 if interval.high is None else interval.high
    return f"{100 * interval.value:.0f}% ({100 * low:.0f} to {100 * high:.0f})"


def score_with_unit(value: float | None, metric: Metric, interval: Interval | None = None) -> str:
    """One score of a metric with its unit.

    >>> loss = Metric(name="loss", title="validation loss", higher_is_better=False, unit="nats")
    >>> score_with_unit(0.5, loss)
    '0.500 nats'
    """
    return f"{score(value, metric, interval)} {column_unit(metric)}".rstrip()


def score_with_interval(interval: Interval | None, metric: Metric, label: str = "95% CI ") -> str:
    """A score with its 95% interval, after a label: ``94.1% (95% CI 90.2 to 97.0)``."""
    text = score(interval.value if interval else None, metric, interval)
    return f"{text} ({label}{ends})" if (ends := interval_ends(interval, metric)) else text


def interval_ends(interval: Interval | None, metric: Metric) -> str:
    """The ends of a score's 95% interval: ``90.2 to 97.0``; empty if they are not known."""
    if interval is None or interval.low is None or interval.high is None:
        return ""
    ends = interval.low, interval.high
    if metric.unit == "points":
        return " to ".join(minus(f"{100 * end:.1f}") for end in ends)
    return " to ".join(number(end, interval) for end in ends)


def difference(interval: Interval | None, metric: Metric) -> str:
    """A signed difference with unit and interval: ``+0.8 points (CI -0.2 to 1.8)``."""
    if interval is None:
        return DASH
    factor = 100 if metric.unit == "points" else 1
    value = interval.value * factor
    low, high = interval.low, interval.high
    if low is None or high is None:
        return f"{minus(f'{value:+.3g}')} {metric.unit}".rstrip()
    digits = min(digits_for((high - low) * factor / 2), 1 if factor == 100 else 6)
    ends = f"CI {minus(f'{low * factor:.{digits}f}')} to {minus(f'{high * factor:.{digits}f}')}"
    return f"{minus(f'{value:+.{digits}f}')} {metric.unit}".rstrip() + f" ({ends})"


def on_validation(metric: Metric) -> str:
    """The title of a metric on validation.

    >>> on_validation(Metric(name="accuracy", title="accuracy", higher_is_better=True))
    'validation accuracy'
    """
    return metric.title if metric.title.startswith("validation") else f"validation {metric.title}"


def column_unit(metric: Metric) -> str:
    """The unit after a score; empty if the score is shown in per cent.

    >>> column_unit(Metric(name="loss", title="loss", higher_is_better=False, unit="nats/token"))
    'nats/token'
    """
    return "" if metric.unit == "points" else metric.unit


def amount(gain: Interval, metric: Metric) -> str:
    """A gain as a number in the metric's unit, without unit, plus sign and interval.

    >>> loss = Metric(name="loss", title="loss", higher_is_better=False, unit="nats/token")
    >>> amount(Interval(value=0.1234, low=0.1, high=0.2), loss)
    '0.123'
    """
    factor = 100 if metric.unit == "points" else 1
    ends = [None if end is None else factor * end for end in (gain.low, gain.high)]
    return number(
        factor * gain.value, Interval(value=factor * gain.value, low=ends[0], high=ends[1])
    )


def better_by(gain: Interval, metric: Metric) -> str:
    """A gain in words, with its direction, unit and interval.

    >>> loss = Metric(name="loss", title="loss", higher_is_better=False, unit="nats")
    >>> better_by(Interval(value=0.02, low=-0.19, high=0.25), loss)
    'better by 0.02 nats (CI −0.19 to 0.25)'
    >>> better_by(Interval(value=-0.02, low=-0.25, high=0.19), loss)
    'worse by 0.02 nats (CI −0.19 to 0.25)'
    """
    if gain.value >= 0:
        return f"better by {difference(gain, metric).removeprefix('+')}"
    low, high = (None if end is None else -end for end in (gain.high, gain.low))
    return f"worse by {difference(Interval(value=-gain.value, low=low, high=high), metric)[1:]}"


# What a comparison lacks for a claim, in words.
_LACKING = {"items": "too few items", "seeds": "one seed each"}


def outcome(compared: Comparison | Gain, margin: float) -> str:
    """An outcome in words; with a reason if it is "within noise" though the interval excludes 0.

    Args:
        margin: The margin, in the same unit as the interval.

    >>> clear = Interval(value=0.08, low=0.01, high=0.16)
    >>> outcome(Gain(gain=clear, outcome="within noise", comparisons=7), 0.01)
    'within noise after correcting for 7 comparisons'
    >>> outcome(Gain(gain=clear, outcome="within noise", comparisons=7), 0.1)
    'within noise (smaller than the margin)'
    >>> outcome(Gain(gain=clear, outcome="within noise", lacking="seeds"), 0.01)
    'within noise (one seed each)'
    """
    word = compared.outcome
    interval = compared.gain if isinstance(compared, Gain) else compared.difference
    if word is None or interval is None:
        return DASH
    if compared.lacking:
        return f"{word} ({_LACKING[compared.lacking]})"
    low, high = interval.low, interval.high
    if word != "within noise" or low is None or high is None or low <= 0 <= high:
        return word
    if abs(interval.value) < margin:
        return f"{word} (smaller than the margin)"
    return f"{word} after correcting for {compared.comparisons} comparisons"


def number(value: float | None, interval: Interval | None = None) -> str:
    """A number, rounded to its interval; to three significant digits without one."""
    if value is None or not math.isfinite(value):
        return DASH
    if interval is None or interval.low is None or interval.high is None:
        return minus(units.number(float(f"{value:.3g}")))
    digits = digits_for((interval.high - interval.low) / 2)
    max_digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 3
    return minus(f"{value:.{min(digits, max_digits)}f}")


def percent(value: float) -> str:
    """A share in per cent, without the sign."""
    return f"{100 * value:.1f}"


def minutes(seconds: float | None) -> str:
    """Seconds as minutes, with three significant digits."""
    return number(None if seconds is None else seconds / 60)


def minus(text: str) -> str:
    """A number's text with a typographic minus sign; zero has no sign.

    >>> minus("-1.2"), minus("-0.0"), minus("+0.3")
    ('−1.2', '0.0', '+0.3')
    """
    if text.startswith(("-", "+")) and not text.strip("-+0.,"):
        return text[1:]
    return text.replace("-", "−", 1) if text.startswith("-") else text


def points(count: float) -> str:
    """A margin in points.

    >>> points(1.0), points(0.5)
    ('1 point', '0.5 points')
    """
    return f"{count:g} {'point' if count == 1 else 'points'}"


def more(count: int, noun: str = "item") -> str:
    """A number of further items, rounded up to two significant digits.

    >>> more(1234, "test item"), more(87), more(1)
    ('about 1,300 more test items', 'about 87 more items', 'about 1 more item')
    """
    step = 10 ** max(0, len(str(count)) - 2)
    return f"about {units.plural(math.ceil(count / step) * step, f'more {noun}')}"


def share(value: float) -> str:
    """A share as per cent.

    >>> share(0.0123), share(0.5), share(3.5e-30)
    ('1.2%', '50%', 'under 0.01%')
    """
    percent = 100 * value
    if 0 < percent < 0.01:  # also rounding errors of a sum
        return "under 0.01%"
    return f"{percent:.0f}%" if percent >= 10 else f"{percent:.2g}%"


def span(low: object, high: object) -> str:
    """A range of a parameter's values; a dash if an end is unknown.

    >>> span(1e-5, 1e-3), span(4, None)
    ('1e-5 to 1e-3', '–')
    """
    return DASH if low is None or high is None else f"{value(low)} to {value(high)}"


def search_space(parameter: Parameter, name: str = "") -> str:
    """The range or choices of a parameter, then its default; the default alone if not searched.

    Args:
        name: The parameter's name: epochs have a format of their own.
    """

    def show(scalar: Scalar | None) -> str:
        return units.epochs(float(scalar or 0)) if name == EPOCHS else value(scalar)

    default = show(parameter.default)
    if not parameter.searched:
        return default
    if parameter.choices is not None:
        return f"{{{'|'.join(map(show, parameter.choices))}}} ({default})"
    return f"{show(parameter.low)}..{show(parameter.high)} ({default})"


def value(scalar: object) -> str:
    """A parameter's value: small numbers as ``2e-4``, never with an SI prefix; a dash for None.

    >>> value(0.0002), value(16), value(0.05), value(1230.5), value("all-linear"), value(None)
    ('2e-4', '16', '0.05', '1,230', 'all-linear', '–')
    """
    if scalar is None:
        return DASH
    if isinstance(scalar, bool) or not isinstance(scalar, int | float):
        return str(scalar)
    if float(scalar).is_integer():
        return f"{scalar:,.0f}"
    if 0 < abs(scalar) < 0.01:
        return units.rate(scalar)
    return units.number(scalar) if abs(scalar) >= 1000 else f"{scalar:.3g}"


def configuration(parameters: Mapping[str, Scalar]) -> str:
    """Parameters with their values in one line.

    >>> configuration({"learning_rate": 2e-4, "r": 16})
    'lr 2e-4 · r 16'
    """
    return " · ".join(
        f"{SHORT_NAMES.get(name, name)} {value(scalar)}" for name, scalar in parameters.items()
    )
