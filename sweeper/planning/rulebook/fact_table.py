"""The named facts that rules may use, of the core and of the installed features."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sweeper.data.formats import TRAINABLE
from sweeper.facts.dataset.length_cap import cap_of
from sweeper.facts.record import DataFacts, Facts, ModelFacts
from sweeper.features import parts
from sweeper.planning.rulebook.fact import Compute, Fact, Scene, Value, Values, flag, number, word
from sweeper.spec import TASKS, Spec
from sweeper.units import GIB


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
    lengths, context = scene.facts.data.lengths, scene.model.context_length
    if lengths is None:
        return None
    cap = cap_of(lengths, scene.spec.training.max_length, context)
    return not scene.facts.divides and cap == context < lengths.longest


DATA_FACTS: tuple[Fact, ...] = (
    number(
        "examples",
        "rows",
        "there are {} examples",
        _data(lambda d: d.examples),
        "before validation and test are taken out; validation and test files do not count",
    ),
    number("train_rows", "rows", "the train split has {} rows", _data(lambda d: d.train_rows)),
    number("rows", "rows", "all splits together have {} rows", _data(lambda d: d.rows)),
    number("test_rows", "rows", "the test split has {} rows", _test_rows),
    number(
        "detectable_points",
        "points",
        "the smallest difference that the test split can show is {} points",
        _detectable,
        "of the share of right answers, as 1.96 standard errors of a paired difference with "
        "correlation one half",
    ),
    flag(
        "data_at_hand",
        "a data set was read",
        _data(lambda d: d.path is not None),
        otherwise="only a number of rows is given",
    ),
    word(
        "data_format",
        "the data have the format {}",
        _data(lambda d: d.format),
        words=TRAINABLE,
    ),
    number(
        "classes", "classes", "the number of classes is {}", _data(lambda d: len(d.labels) or None)
    ),
    number("rows_per_class", "rows", "there are {} training rows per class", _data(_per_class)),
    number(
        "smallest_class_rows",
        "rows",
        "the rarest class has {} rows",
        _data(_smallest_class),
        "over all splits",
    ),
    number(
        "class_imbalance",
        "",
        "the most common class has {} times the rows of the rarest",
        _data(_imbalance),
    ),
    number(
        "tokens_p50",
        "tokens",
        "the median example has {} tokens",
        _data(lambda d: d.lengths.p50 if d.lengths else None),
    ),
    number(
        "tokens_p99",
        "tokens",
        "the 99th percentile of lengths is {} tokens",
        _data(lambda d: d.lengths.p99 if d.lengths else None),
    ),
    flag(
        "longest_beyond_context",
        "the model's context cuts the longest example",
        _beyond_context,
        otherwise="the model's context cuts no example",
    ),
    number(
        "train_tokens",
        "tokens",
        "the train split has {} tokens",
        _data(_train_tokens),
        "its rows times their mean length",
    ),
    number(
        "output_tokens_per_parameter",
        "",
        "there are {} output tokens per parameter",
        _output_tokens_per_parameter,
        "in the train split; a label counts as one",
    ),
    number(
        "duplicate_share",
        "",
        "{} of the rows repeat another row's input",
        _data(lambda d: _share(d.duplicate_rows, d)),
    ),
    number(
        "conflicting_share",
        "",
        "{} of the rows have the same input as another but a different answer",
        _data(lambda d: _share(d.conflicting_rows, d)),
    ),
    number(
        "leaked_rows",
        "rows",
        "{} validation or test rows have a text that is also in train",
        _data(lambda d: d.leaked_rows),
    ),
    number("empty_rows", "rows", "{} rows have no text", _data(lambda d: d.empty_rows)),
    number(
        "encoding_problems",
        "rows",
        "{} rows have broken characters",
        _data(lambda d: d.encoding_problems),
    ),
    flag(
        "pretemplated",
        "the texts already have chat markers",
        _data(lambda d: d.pretemplated),
        otherwise="the texts have no chat markers",
    ),
    word(
        "domain_distance",
        "the data are {} general text",
        lambda s: s.facts.aim.domain_distance or s.facts.data.domain.distance,
        words={"near": "near to", "far": "far from"},
        chosen=True,
    ),
    number(
        "token_ratio",
        "",
        "a word of the data has {} times the tokens of a word of general text",
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


def _classes_by(scene: Scene) -> str | None:
    return scene.spec.training.classes_by if scene.facts.task == "classification" else None


_TABLE: tuple[Fact, ...] = (
    # The request
    word("task", "the task is {}", lambda s: s.facts.task, words=TASKS),
    flag(
        "new_head",
        "there is a new classification head",
        lambda s: _classes_by(s) == "head",
        otherwise="there is no new classification head",
    ),
    word(
        "classes_by",
        "the task is classification with --classes-by {}",
        _classes_by,
        "a linear head, or writing the class's name",
        words=("head", "generate"),
        chosen=True,
    ),
    Fact(
        "strategies",
        "words",
        "--strategies includes {}",
        lambda s: s.facts.aim.strategies,
        "unknown without --strategies",
        chosen=True,
    ),
    number(
        "tasks_on_one_base",
        "tasks",
        "{} tasks share the base model",
        lambda s: s.facts.aim.tasks_on_one_base,
        chosen=True,
    ),
    flag(
        "class_weight_wanted",
        "class weights are requested",
        lambda s: s.spec.training.class_weight not in (None, "none"),
        chosen=True,
    ),
    flag(
        "patience_wanted",
        "early stopping on validation loss is requested",
        lambda s: s.spec.training.early_stopping_patience is not None,
        chosen=True,
    ),
    number(
        "epochs_wanted",
        "epochs",
        "--epochs is {}",
        lambda s: s.spec.training.epochs,
        "passes over the data that the user asked for",
        chosen=True,
    ),
    number("models_competing", "models", "{} base models compete", lambda s: len(s.facts.models)),
    # The model
    number(
        "parameters_billion",
        "1e9",
        "the model has {} parameters",
        _model(lambda m: m.parameters / 1e9),
    ),
    word(
        "model_kind",
        "the model is {}",
        _model(lambda m: m.kind),
        words={
            "encoder": "an encoder",
            "decoder": "a decoder",
            "encoder-decoder": "an encoder-decoder",
        },
    ),
    word(
        "model_type",
        "the architecture is {}",
        _model(lambda m: m.model_type),
        "as transformers spells it",
    ),
    number("hidden_size", "", "the residual stream is {} wide", _model(lambda m: m.hidden_size)),
    number(
        "vocabulary_size",
        "tokens",
        "the vocabulary has {} entries",
        _model(lambda m: m.vocabulary_size),
    ),
    number(
        "context_length",
        "tokens",
        "the context of the model has {} tokens",
        _model(lambda m: m.context_length),
    ),
    flag(
        "chat_template",
        "the tokenizer has a chat template",
        _model(lambda m: None if m.source == "size" else m.chat_template),
        otherwise="the tokenizer has no chat template",
    ),
    flag(
        "mixture_of_experts",
        "the model has routed experts",
        _model(lambda m: m.moe is not None),
        otherwise="the model has no routed experts",
    ),
    word(
        "pooling",
        "the pooling of token vectors is {}",
        _model(lambda m: m.pooling),
        words=("mean", "cls", "last"),
    ),
    number(
        "pretraining_peak_learning_rate",
        "",
        "the peak learning rate of pretraining is {}",
        _model(lambda m: m.pretraining_peak_learning_rate),
        "unknown where it was not published",
    ),
    *DATA_FACTS,
    # The machine
    word("device", "the device is {}", lambda s: s.facts.hardware.device, words=("cuda", "cpu")),
    number(
        "gpus",
        "GPUs",
        "the number of GPUs is {}",
        lambda s: s.facts.hardware.gpus,
        "over all nodes",
    ),
    number(
        "memory_gib",
        "GiB",
        "one device has {} GiB of memory",
        lambda s: s.facts.hardware.memory_gib,
    ),
    flag("bf16", "matrix products in bfloat16 are faster", lambda s: s.facts.hardware.bf16),
    number(
        "flash_attention",
        "",
        "the FlashAttention version (0 if none) is {}",
        lambda s: s.facts.hardware.flash_attention or 0,
        "the version that is installed and runs on the GPUs of this machine",
    ),
    number(
        "memory_bytes_per_parameter",
        "bytes",
        "one device has {} bytes of memory per parameter",
        _device_bytes,
    ),
)

_OF_FEATURES = tuple(fact for _, facts in parts.FACTS.all() for fact in facts)
FACTS: Mapping[str, Fact] = MappingProxyType({f.name: f for f in (*_TABLE, *_OF_FEATURES)})
