"""The named facts about the data that rules may ask about. Part of ``facttable``."""

from __future__ import annotations

import math
from collections.abc import Callable

from sweeper.facts.record import DataFacts
from sweeper.planning.factkinds import Compute, Fact, Scene, Value, flag, number, word

_FORMATS = ("text-label", "instruction", "prompt-completion", "messages", "text")


def _data(compute: Callable[[DataFacts], Value]) -> Compute:
    return lambda scene: compute(scene.facts.data)


def _per_class(data: DataFacts) -> Value:
    return data.train_rows / len(data.labels) if data.labels else None


def _smallest_class(data: DataFacts) -> Value:
    return min((label.rows for label in data.labels), default=None)


def _imbalance(data: DataFacts) -> Value:
    counts = [label.rows for label in data.labels]
    return max(counts) / max(min(counts), 1) if counts else None


def _train_tokens(data: DataFacts) -> float | None:
    return data.lengths.mean * data.train_rows if data.lengths else None


def _output_tokens_per_parameter(scene: Scene) -> Value:
    """What there is to learn: one label a row, or the answer's tokens (all, if not told apart)."""
    data = scene.facts.data
    if scene.facts.task == "classification":
        return data.train_rows / scene.model.parameters
    if data.lengths is None:
        return None
    return (
        data.train_rows * (data.lengths.output_mean or data.lengths.mean) / scene.model.parameters
    )


def _share(count: int, data: DataFacts) -> float:
    return count / max(data.rows, 1)


def _token_ratio(data: DataFacts) -> Value:
    domain = data.domain
    if domain.tokens_per_word is None or not domain.general_tokens_per_word:
        return None
    return domain.tokens_per_word / domain.general_tokens_per_word


def _test_rows(scene: Scene) -> int:
    rows = [split.rows for split in scene.facts.data.splits if split.name == "test"]
    return rows[0] if rows else round(scene.facts.data.rows * scene.spec.data.test_fraction)


def _detectable(scene: Scene) -> Value:
    """1.96 standard errors of the paired difference of two shares near one half, in points."""
    return 1.96 * 50 / math.sqrt(max(_test_rows(scene), 1))


def _beyond_context(scene: Scene) -> Value:
    lengths = scene.facts.data.lengths
    return None if lengths is None else lengths.longest > scene.model.context_length


DATA_FACTS: tuple[Fact, ...] = (
    number("examples", "rows", "rows of the train split", _data(lambda d: d.train_rows)),
    number("rows", "rows", "rows of all splits", _data(lambda d: d.rows)),
    number("test_rows", "rows", "rows of the test split", _test_rows),
    number(
        "detectable_points",
        "points",
        "smallest difference of accuracy that the test split can tell from noise: 1.96 standard "
        "errors of a paired difference with correlation one half",
        _detectable,
    ),
    flag(
        "data_at_hand",
        "a data set was read, not only a number of rows given",
        _data(lambda d: d.path is not None),
    ),
    word("data_format", "the form of the examples", _data(lambda d: d.format), _FORMATS),
    number("classes", "classes", "class names in the data", _data(lambda d: len(d.labels) or None)),
    number("rows_per_class", "rows", "train rows divided by classes", _data(_per_class)),
    number(
        "smallest_class_rows",
        "rows",
        "rows of the rarest class, over all splits",
        _data(_smallest_class),
    ),
    number(
        "class_imbalance",
        "",
        "rows of the commonest class over rows of the rarest",
        _data(_imbalance),
    ),
    number(
        "tokens_p50",
        "tokens",
        "median length of an example",
        _data(lambda d: d.lengths.p50 if d.lengths else None),
    ),
    number(
        "tokens_p99",
        "tokens",
        "length that 99% of the examples stay within",
        _data(lambda d: d.lengths.p99 if d.lengths else None),
    ),
    flag(
        "longest_beyond_context",
        "the longest example is longer than the model's context",
        _beyond_context,
    ),
    number(
        "train_tokens", "tokens", "rows of the train split times mean length", _data(_train_tokens)
    ),
    number(
        "output_tokens_per_parameter",
        "",
        "what there is to learn (answers' tokens of the train split, or its labels) over "
        "parameters of the base model",
        _output_tokens_per_parameter,
    ),
    number(
        "duplicate_share",
        "",
        "share of rows that repeat another row's input",
        _data(lambda d: _share(d.duplicate_rows, d)),
    ),
    number(
        "conflicting_share",
        "",
        "share of rows with the same input as another but a different answer",
        _data(lambda d: _share(d.conflicting_rows, d)),
    ),
    number(
        "leaked_rows",
        "rows",
        "validation or test rows whose text is also in train",
        _data(lambda d: d.leaked_rows),
    ),
    number("empty_rows", "rows", "rows without text", _data(lambda d: d.empty_rows)),
    number(
        "encoding_problems",
        "rows",
        "rows with broken characters",
        _data(lambda d: d.encoding_problems),
    ),
    flag("pretemplated", "texts already hold chat markers", _data(lambda d: d.pretemplated)),
    word(
        "domain_distance",
        "how far the data lies from general text",
        lambda s: s.facts.aim.domain_distance or s.facts.data.domain.distance,
        ("near", "far"),
        chosen=True,
    ),
    number(
        "token_ratio",
        "",
        "tokens per word of the data over tokens per word of general text",
        _data(_token_ratio),
    ),
)
