"""The table of named facts that rules may ask about: what each one means, and its value.

A fact that is not known is None. Knows nothing of rules and strategies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from sweeper.facts.record import Facts, ModelFacts
from sweeper.planning.datatable import DATA_FACTS
from sweeper.planning.factkinds import Compute, Fact, Scene, Value, Values, flag, number, word
from sweeper.spec import TASKS, Spec

GIB = 1024**3


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
        "how classes are told: by a linear head, or by writing the class's name",
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
        "replay of general text was asked for",
        lambda s: bool(s.spec.training.replay_share),
        chosen=True,
    ),
    flag(
        "kl_wanted",
        "a KL penalty to the base model was asked for",
        lambda s: bool(s.spec.training.kl_weight),
        chosen=True,
    ),
    flag(
        "class_weight_wanted",
        "weights of classes were asked for",
        lambda s: s.spec.training.class_weight not in (None, "none"),
        chosen=True,
    ),
    flag(
        "patience_wanted",
        "early stopping on validation loss was asked for",
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
        "the domain corpus is all the data there is",
        lambda s: (
            s.spec.data.path is None
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
        "longest text that the model takes",
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
        "the model's own way from token states to one vector",
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
        "matrix products in bfloat16 are worth using",
        lambda s: s.facts.hardware.bf16,
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
