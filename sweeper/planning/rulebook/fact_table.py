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
        "examples before validation and test are taken out of them",
        _data(lambda d: d.examples),
    ),
    number("train_rows", "rows", "rows of the train split", _data(lambda d: d.train_rows)),
    number("rows", "rows", "rows of all splits together", _data(lambda d: d.rows)),
    number("test_rows", "rows", "rows of the test split", _test_rows),
    number(
        "detectable_points",
        "points",
        "smallest difference in the share of right answers that the test split can show: 1.96 "
        "standard errors of a paired difference with correlation one half",
        _detectable,
    ),
    flag(
        "augmented_data",
        "whether there are augmented rows, made from train rows",
        _data(lambda d: d.augmentation is not None),
    ),
    flag(
        "data_at_hand",
        "whether a data set was read, and not only a number of rows is given",
        _data(lambda d: d.path is not None),
    ),
    word("data_format", "format of the rows", _data(lambda d: d.format), words=TRAINABLE),
    number("classes", "classes", "number of classes", _data(lambda d: len(d.labels) or None)),
    number("rows_per_class", "rows", "training rows for each class", _data(_per_class)),
    number(
        "smallest_class_rows",
        "rows",
        "rows of the rarest class in all splits",
        _data(_smallest_class),
    ),
    number(
        "class_imbalance",
        "",
        "rows of the most common class over those of the rarest",
        _data(_imbalance),
    ),
    number(
        "tokens_p50",
        "tokens",
        "length of the median example",
        _data(lambda d: d.lengths.p50 if d.lengths else None),
    ),
    number(
        "tokens_p99",
        "tokens",
        "99th percentile of the examples' lengths",
        _data(lambda d: d.lengths.p99 if d.lengths else None),
    ),
    flag(
        "longest_beyond_context",
        "whether the model's context cuts the longest example",
        _beyond_context,
    ),
    number(
        "train_tokens",
        "tokens",
        "rows of the train split times their mean length",
        _data(_train_tokens),
    ),
    number(
        "output_tokens_per_parameter",
        "",
        "tokens of the train split's answers over parameters of the model; a label counts as one",
        _output_tokens_per_parameter,
    ),
    number(
        "duplicate_share",
        "%",
        "share of the rows that repeat another row's input",
        _data(lambda d: _share(d.duplicate_rows, d)),
    ),
    number(
        "conflicting_share",
        "%",
        "share of the rows that have the input of another row but a different answer",
        _data(lambda d: _share(d.conflicting_rows, d)),
    ),
    number(
        "leaked_rows",
        "rows",
        "validation or test rows with a text that is also in train",
        _data(lambda d: d.leaked_rows),
    ),
    number("empty_rows", "rows", "rows without text", _data(lambda d: d.empty_rows)),
    number(
        "encoding_problems",
        "rows",
        "rows with broken characters",
        _data(lambda d: d.encoding_problems),
    ),
    flag("pretemplated", "whether the texts have chat markers", _data(lambda d: d.pretemplated)),
    word(
        "domain_distance",
        "distance of the data from general text",
        lambda s: s.facts.aim.domain_distance or s.facts.data.domain.distance,
        words=("near", "far"),
        chosen=True,
    ),
    number(
        "token_ratio",
        "",
        "tokens a word of the data over tokens a word of general text",
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
    word("task", "--task", lambda s: s.facts.task, words=TASKS),
    flag(
        "new_head",
        "whether there is a new classification head",
        lambda s: _classes_by(s) == "head",
    ),
    word(
        "classes_by",
        "--classes-by of a classification: a linear head, or writing the class's name",
        _classes_by,
        words=("head", "generate"),
        chosen=True,
    ),
    Fact(
        "strategies",
        "words",
        "--strategies; unknown without it",
        lambda s: s.facts.aim.strategies,
        chosen=True,
    ),
    number(
        "tasks_on_one_base",
        "tasks",
        "tasks that share the base model",
        lambda s: s.facts.aim.tasks_on_one_base,
        chosen=True,
    ),
    number(
        "max_forgetting_points",
        "points",
        "--max-forgetting: the loss of general capability that the user allows",
        lambda s: s.facts.aim.max_forgetting_points,
        chosen=True,
    ),
    flag(
        "general_data",
        "whether --general is given",
        lambda s: s.spec.data.general is not None,
        chosen=True,
    ),
    flag(
        "replay_wanted",
        "whether replay is requested",
        lambda s: bool(s.spec.training.replay_share),
        chosen=True,
    ),
    flag(
        "kl_wanted",
        "whether a KL penalty is requested",
        lambda s: bool(s.spec.training.kl_weight),
        chosen=True,
    ),
    flag(
        "class_weight_wanted",
        "whether class weights are requested",
        lambda s: s.spec.training.class_weight not in (None, "none"),
        chosen=True,
    ),
    flag(
        "label_noise_treated",
        "whether a remedy for wrong labels is requested",
        lambda s: not {"label-noise", "relabel"}.isdisjoint(s.spec.curation.remedies),
        chosen=True,
    ),
    flag(
        "patience_wanted",
        "whether early stopping on validation loss is requested",
        lambda s: s.spec.training.early_stopping_patience is not None,
        chosen=True,
    ),
    flag(
        "domain_corpus",
        "whether --corpus is given",
        lambda s: s.spec.data.corpus is not None,
        chosen=True,
    ),
    flag(
        "corpus_is_task",
        "whether the corpus is the only data",
        lambda s: (
            s.spec.data.named is None
            and s.spec.data.corpus is not None
            and s.facts.data.path == s.spec.data.corpus
        ),
    ),
    number(
        "epochs_wanted",
        "epochs",
        "--epochs: passes over the data that the user asked for",
        lambda s: s.spec.training.epochs,
        chosen=True,
    ),
    number("models_competing", "models", "base models in the study", lambda s: len(s.facts.models)),
    # The model
    number(
        "parameters_billion",
        "billion",
        "parameters of the model",
        _model(lambda m: m.parameters / 1e9),
    ),
    word(
        "model_kind",
        "kind of the model",
        _model(lambda m: m.kind),
        words=("encoder", "decoder", "encoder-decoder"),
    ),
    word(
        "model_type",
        "architecture, as transformers spells it",
        _model(lambda m: m.model_type),
    ),
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
        "context of the model",
        _model(lambda m: m.context_length),
    ),
    flag(
        "chat_template",
        "whether the tokenizer has a chat template",
        _model(lambda m: None if m.source == "size" else m.chat_template),
    ),
    flag(
        "mixture_of_experts",
        "whether the model has routed experts",
        _model(lambda m: m.moe is not None),
    ),
    word(
        "pooling",
        "pooling of token vectors",
        _model(lambda m: m.pooling),
        words=("mean", "cls", "last"),
    ),
    number(
        "pretraining_peak_learning_rate",
        "",
        "peak learning rate of pretraining, where it was published",
        _model(lambda m: m.pretraining_peak_learning_rate),
    ),
    *DATA_FACTS,
    # The machine
    word(
        "device",
        "where trials run",
        lambda s: s.facts.hardware.device,
        words=("cuda", "cpu"),
    ),
    number("gpus", "GPUs", "GPUs of all nodes", lambda s: s.facts.hardware.gpus),
    number("memory_gib", "GiB", "memory of one device", lambda s: s.facts.hardware.memory_gib),
    flag(
        "bf16",
        "whether matrix products in bfloat16 are faster",
        lambda s: s.facts.hardware.bf16,
    ),
    number(
        "flash_attention",
        "",
        "version of FlashAttention that is installed and runs on the GPUs; 0 without it",
        lambda s: s.facts.hardware.flash_attention or 0,
    ),
    number(
        "memory_bytes_per_parameter",
        "bytes",
        "memory of one device over parameters of the model",
        _device_bytes,
    ),
    number(
        "machine_bytes_per_parameter",
        "bytes",
        "memory of all devices over parameters of the model",
        _machine_bytes,
    ),
)

_OF_FEATURES = tuple(fact for _, facts in parts.FACTS.all() for fact in facts)
FACTS: Mapping[str, Fact] = MappingProxyType({f.name: f for f in (*_TABLE, *_OF_FEATURES)})
