"""The named facts that rules may use: their types, texts, descriptions and values.

The value of an unknown fact is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from sweeper.data.formats.base import trainable
from sweeper.facts.record import DataFacts, Facts, ModelFacts
from sweeper.spec import TASKS, Spec
from sweeper.units import GIB

Value = bool | int | float | str | tuple[str, ...] | None
Values = Mapping[str, Value]
Kind = Literal["number", "word", "flag", "words"]


@dataclass(frozen=True, slots=True)
class Scene:
    """The input of facts: the request, the gathered facts, and one of the models."""

    spec: Spec
    facts: Facts
    model: ModelFacts


@dataclass(frozen=True, slots=True)
class Fact:
    """One named fact.

    Args:
        name: Name in rules.
        kind: ``number``, ``flag`` (true or false), ``word`` (one of ``words``, if they are
            listed) or ``words`` (several).
        description: What it is and how it is computed.
        compute: Its value in a scene; None where it is not known.
        unit: Unit of a number.
        chosen: Whether the user sets it.
    """

    name: str
    kind: Kind
    description: str
    compute: Callable[[Scene], Value]
    unit: str = ""
    words: tuple[str, ...] = ()
    chosen: bool = False


Compute = Callable[[Scene], Value]


def number(
    name: str, unit: str, description: str, compute: Compute, *, chosen: bool = False
) -> Fact:
    """A fact that is a number with a unit."""
    return Fact(name, "number", description, compute, unit, chosen=chosen)


def flag(name: str, description: str, compute: Compute, *, chosen: bool = False) -> Fact:
    """A fact that is true or false."""
    return Fact(name, "flag", description, compute, chosen=chosen)


def word(
    name: str,
    description: str,
    compute: Compute,
    words: tuple[str, ...] = (),
    *,
    chosen: bool = False,
) -> Fact:
    """A fact that is one word, from a fixed list if there is one."""
    return Fact(name, "word", description, compute, words=words, chosen=chosen)


def show(value: Value) -> str:
    """A fact's value as texts print it.

    >>> show(12000), show(0.25), show(True), show(None), show(("lora", "full"))
    ('12,000', '0.25', 'yes', 'unknown', 'lora, full')
    """
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


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
    """Labels, or tokens of answers (of whole texts if unknown), over parameters of the model."""
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
    data = scene.facts.data
    return data.rows_of("test") or round(data.rows * scene.spec.data.test_fraction)


def _detectable(scene: Scene) -> Value:
    """1.96 standard errors of the paired difference of two shares near one half, in points."""
    return 1.96 * 50 / math.sqrt(max(_test_rows(scene), 1))


def _beyond_context(scene: Scene) -> Value:
    lengths = scene.facts.data.lengths
    if lengths is None:
        return None
    return not scene.facts.divides and lengths.longest > scene.model.context_length


DATA_FACTS: tuple[Fact, ...] = (
    number(
        "examples",
        "rows",
        "rows of the data set before validation and test are taken out of it; official validation "
        "and test files do not count",
        _data(lambda d: d.examples),
    ),
    number("train_rows", "rows", "rows of the train split", _data(lambda d: d.train_rows)),
    number("rows", "rows", "rows of all splits", _data(lambda d: d.rows)),
    number("test_rows", "rows", "rows of the test split", _test_rows),
    number(
        "detectable_points",
        "points",
        "smallest difference in the share of right answers that the test split can tell from "
        "noise: 1.96 standard errors of a paired difference with correlation one half",
        _detectable,
    ),
    flag(
        "augmented_data",
        "there are augmented rows, made from train rows",
        _data(lambda d: d.augmentation is not None),
    ),
    flag(
        "data_at_hand",
        "a data set was read, not only a number of rows given",
        _data(lambda d: d.path is not None),
    ),
    word("data_format", "the form of the examples", _data(lambda d: d.format), tuple(trainable())),
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
        "the longest example is longer than the model's context, and would not be divided",
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


def fact_values(spec: Spec, facts: Facts, model: ModelFacts) -> Values:
    """The value of every fact in the table for one of the base models."""
    scene = Scene(spec, facts, model)
    return MappingProxyType({name: fact.compute(scene) for name, fact in FACTS.items()})


def _model(compute: Callable[[ModelFacts], Value]) -> Compute:
    return lambda scene: compute(scene.model)


def _device_bytes(scene: Scene) -> float:
    return scene.facts.hardware.memory_gib * GIB / scene.model.parameters


def _machine_bytes(scene: Scene) -> Value:
    return max(scene.facts.hardware.gpus, 1) * _device_bytes(scene)


def _classes_by(scene: Scene) -> str | None:
    return scene.spec.training.classes_by if scene.facts.task == "classification" else None


_TABLE: tuple[Fact, ...] = (
    # The request
    word("task", "the task", lambda s: s.facts.task, TASKS),
    flag(
        "new_head",
        "the model gets a new classification head",
        lambda s: _classes_by(s) == "head",
    ),
    word(
        "classes_by",
        "how a classifier works: by a linear head, or by writing the class's name",
        lambda s: _classes_by(s),
        ("head", "generate"),
        chosen=True,
    ),
    Fact(
        "strategies",
        "words",
        "strategies that the user named; unknown if none were",
        lambda s: s.facts.aim.strategies,
        chosen=True,
    ),
    number(
        "tasks_on_one_base",
        "tasks",
        "tasks that will share the base model",
        lambda s: s.facts.aim.tasks_on_one_base,
        chosen=True,
    ),
    number(
        "max_forgetting_points",
        "points",
        "loss of general capability that the user allows",
        lambda s: s.facts.aim.max_forgetting_points,
        chosen=True,
    ),
    flag(
        "general_data",
        "general data for replay was given",
        lambda s: s.spec.data.general is not None,
        chosen=True,
    ),
    flag(
        "replay_wanted",
        "replay of general text was requested",
        lambda s: bool(s.spec.training.replay_share),
        chosen=True,
    ),
    flag(
        "kl_wanted",
        "a KL penalty to the base model was requested",
        lambda s: bool(s.spec.training.kl_weight),
        chosen=True,
    ),
    flag(
        "class_weight_wanted",
        "weights of classes were requested",
        lambda s: s.spec.training.class_weight not in (None, "none"),
        chosen=True,
    ),
    flag(
        "label_noise_treated",
        "remedies for wrong labels were requested",
        lambda s: not {"label-noise", "relabel"}.isdisjoint(s.spec.curation.remedies),
        chosen=True,
    ),
    flag(
        "patience_wanted",
        "early stopping on validation loss was requested",
        lambda s: s.spec.training.early_stopping_patience is not None,
        chosen=True,
    ),
    flag(
        "domain_corpus",
        "a domain corpus to continue pretraining on was given",
        lambda s: s.spec.data.corpus is not None,
        chosen=True,
    ),
    flag(
        "corpus_is_task",
        "the domain corpus is the only data",
        lambda s: (
            s.spec.data.named is None
            and s.spec.data.corpus is not None
            and s.facts.data.path == s.spec.data.corpus
        ),
    ),
    number(
        "epochs_wanted",
        "epochs",
        "passes over the data that the user asked for",
        lambda s: s.spec.training.epochs,
        chosen=True,
    ),
    number(
        "models_competing", "models", "base models in the same study", lambda s: len(s.facts.models)
    ),
    # The model
    number(
        "parameters_billion",
        "1e9",
        "parameters of the base model",
        _model(lambda m: m.parameters / 1e9),
    ),
    word(
        "model_kind",
        "kind of the base model",
        _model(lambda m: m.kind),
        ("encoder", "decoder", "encoder-decoder"),
    ),
    word("model_type", "architecture, as transformers spells it", _model(lambda m: m.model_type)),
    number("hidden_size", "", "width of the residual stream", _model(lambda m: m.hidden_size)),
    number(
        "vocabulary_size",
        "tokens",
        "entries of the vocabulary",
        _model(lambda m: m.vocabulary_size),
    ),
    number(
        "context_length",
        "tokens",
        "longest text of the model, its context",
        _model(lambda m: m.context_length),
    ),
    flag(
        "chat_template",
        "the tokenizer has a chat template; unknown for a bare size",
        _model(lambda m: None if m.source == "size" else m.chat_template),
    ),
    flag("mixture_of_experts", "the model has routed experts", _model(lambda m: m.moe is not None)),
    word(
        "pooling",
        "how the model makes one vector of its token states",
        _model(lambda m: m.pooling),
        ("mean", "cls", "last"),
    ),
    number(
        "pretraining_peak_learning_rate",
        "",
        "peak rate of the base model's pretraining, where it was published",
        _model(lambda m: m.pretraining_peak_learning_rate),
    ),
    *DATA_FACTS,
    # The machine
    word("device", "where trials run", lambda s: s.facts.hardware.device, ("cuda", "cpu")),
    number("gpus", "GPUs", "GPUs over all nodes", lambda s: s.facts.hardware.gpus),
    number("memory_gib", "GiB", "memory of one device", lambda s: s.facts.hardware.memory_gib),
    flag(
        "bf16",
        "matrix products in bfloat16 are faster",
        lambda s: s.facts.hardware.bf16,
    ),
    number(
        "flash_attention",
        "",
        "version of FlashAttention that is installed and runs on the GPUs of this machine, or 0",
        lambda s: s.facts.hardware.flash_attention or 0,
    ),
    number(
        "memory_bytes_per_parameter",
        "bytes",
        "memory of one device over parameters of the base model",
        _device_bytes,
    ),
    number(
        "machine_bytes_per_parameter",
        "bytes",
        "memory of all devices together over parameters of the base model",
        _machine_bytes,
    ),
)

FACTS: Mapping[str, Fact] = MappingProxyType({fact.name: fact for fact in _TABLE})
