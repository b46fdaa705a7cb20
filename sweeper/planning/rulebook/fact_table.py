"""The named facts that rules may use, of the core and of the installed features."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from sweeper.data.formats import TRAINABLE
from sweeper.facts.dataset.length_cap import cap_of
from sweeper.facts.record import Facts, ModelFacts
from sweeper.features import parts
from sweeper.planning.rulebook.fact import Fact, Scene, Value, Values, flag, number, word
from sweeper.spec import TASKS, Spec
from sweeper.units import GIB

# The request


@word(TASKS)
def task(scene: Scene) -> Value:
    """The task of the study."""
    return scene.facts.task


@flag()
def new_head(scene: Scene) -> Value:
    """Whether there is a new classification head."""
    return classes_by.compute(scene) == "head"


@word(("head", "generate"), chosen=True)
def classes_by(scene: Scene) -> Value:
    """How the task classifies: by a linear head, or by writing the class's name."""
    return scene.spec.training.classes_by if scene.facts.task == "classification" else None


@word(several=True, chosen=True)
def strategies(scene: Scene) -> Value:
    """The strategies that --strategies names; unknown without it."""
    return scene.facts.aim.strategies


@number("tasks", chosen=True)
def tasks_on_one_base(scene: Scene) -> Value:
    """Tasks that share the base model."""
    return scene.facts.aim.tasks_on_one_base


@flag(chosen=True)
def class_weight_wanted(scene: Scene) -> Value:
    """Whether class weights are requested."""
    return scene.spec.training.class_weight not in (None, "none")


@flag(chosen=True)
def patience_wanted(scene: Scene) -> Value:
    """Whether early stopping on validation loss is requested."""
    return scene.spec.training.early_stopping_patience is not None


@number("epochs", chosen=True)
def epochs_wanted(scene: Scene) -> Value:
    """Passes over the data that the user asked for, by --epochs."""
    return scene.spec.training.epochs


@number("models")
def models_competing(scene: Scene) -> Value:
    """Base models in the study."""
    return len(scene.facts.models)


# The model


@number("billion")
def parameters_billion(scene: Scene) -> Value:
    """Parameters of the model."""
    return scene.model.parameters / 1e9


@word(("encoder", "decoder", "encoder-decoder"))
def model_kind(scene: Scene) -> Value:
    """The kind of the model."""
    return scene.model.kind


@word()
def model_type(scene: Scene) -> Value:
    """The architecture of the model, as transformers spells it."""
    return scene.model.model_type


@number()
def hidden_size(scene: Scene) -> Value:
    """Width of the residual stream."""
    return scene.model.hidden_size


@number("tokens")
def vocabulary_size(scene: Scene) -> Value:
    """Entries of the vocabulary."""
    return scene.model.vocabulary_size


@number("tokens")
def context_length(scene: Scene) -> Value:
    """Context of the model."""
    return scene.model.context_length


@flag()
def chat_template(scene: Scene) -> Value:
    """Whether the tokenizer has a chat template."""
    return None if scene.model.source == "size" else scene.model.chat_template


@flag()
def mixture_of_experts(scene: Scene) -> Value:
    """Whether the model has routed experts."""
    return scene.model.moe is not None


@word(("mean", "cls", "last"))
def pooling(scene: Scene) -> Value:
    """How the model pools token vectors."""
    return scene.model.pooling


@number()
def pretraining_peak_learning_rate(scene: Scene) -> Value:
    """Peak learning rate of pretraining, where it was published."""
    return scene.model.pretraining_peak_learning_rate


# The data


@number("rows")
def examples(scene: Scene) -> Value:
    """Examples before validation and test are taken out of them."""
    return scene.data.examples


@number("rows")
def train_rows(scene: Scene) -> Value:
    """Rows of the train split."""
    return scene.data.train_rows


@number("rows")
def rows(scene: Scene) -> Value:
    """Rows of all splits together."""
    return scene.data.rows


@number("rows")
def test_rows(scene: Scene) -> Value:
    """Rows of the test split."""
    return scene.data.rows_of("test") or round(scene.data.rows * scene.spec.data.test_fraction)


@number("points")
def detectable_points(scene: Scene) -> Value:
    """Smallest difference in the share of right answers that the test split can show.

    1.96 standard errors of the paired difference of two shares near one half.
    """
    count = test_rows.compute(scene)
    return 1.96 * 50 / math.sqrt(max(count, 1)) if isinstance(count, int) else None


@flag()
def data_at_hand(scene: Scene) -> Value:
    """Whether a data set was read, and not only a number of rows is given."""
    return scene.data.path is not None


@word(TRAINABLE)
def data_format(scene: Scene) -> Value:
    """Format of the rows."""
    return scene.data.format


@number("classes")
def classes(scene: Scene) -> Value:
    """Number of classes."""
    return len(scene.data.labels) or None


@number("rows")
def rows_per_class(scene: Scene) -> Value:
    """Training rows over classes."""
    return scene.data.train_rows / len(scene.data.labels) if scene.data.labels else None


@number("rows")
def smallest_class_rows(scene: Scene) -> Value:
    """Rows of the rarest class in all splits."""
    return min((label.rows for label in scene.data.labels), default=None)


@number()
def class_imbalance(scene: Scene) -> Value:
    """Rows of the most common class over those of the rarest."""
    counts = [label.rows for label in scene.data.labels]
    return max(counts) / max(min(counts), 1) if counts else None


@number("tokens")
def tokens_p50(scene: Scene) -> Value:
    """Length of the median example."""
    return scene.data.lengths.p50 if scene.data.lengths else None


@number("tokens")
def tokens_p99(scene: Scene) -> Value:
    """99th percentile of the examples' lengths."""
    return scene.data.lengths.p99 if scene.data.lengths else None


@flag()
def longest_beyond_context(scene: Scene) -> Value:
    """Whether the model's context cuts the longest example."""
    lengths, context = scene.data.lengths, scene.model.context_length
    if lengths is None:
        return None
    cap = cap_of(lengths, scene.spec.training.max_length, context)
    return not scene.facts.divides and cap == context < lengths.longest


@number("tokens")
def train_tokens(scene: Scene) -> Value:
    """Rows of the train split times their mean length."""
    return scene.data.lengths.mean * scene.data.train_rows if scene.data.lengths else None


@number()
def output_tokens_per_parameter(scene: Scene) -> Value:
    """Tokens of the train split's answers over parameters of the model; a label counts as one.

    Tokens of whole texts where answers are unknown.
    """
    lengths, each = scene.data.lengths, 1.0
    if scene.facts.task != "classification":
        if lengths is None:
            return None
        each = lengths.output_mean or lengths.mean
    return scene.data.train_rows * each / scene.model.parameters


@number("%")
def duplicate_share(scene: Scene) -> Value:
    """Share of the rows that repeat another row's input."""
    return scene.data.duplicate_rows / max(scene.data.rows, 1)


@number("%")
def conflicting_share(scene: Scene) -> Value:
    """Share of the rows that have the input of another row but a different answer."""
    return scene.data.conflicting_rows / max(scene.data.rows, 1)


@number("rows")
def leaked_rows(scene: Scene) -> Value:
    """Validation or test rows with a text that is also in train."""
    return scene.data.leaked_rows


@number("rows")
def empty_rows(scene: Scene) -> Value:
    """Rows without text."""
    return scene.data.empty_rows


@number("rows")
def encoding_problems(scene: Scene) -> Value:
    """Rows with broken characters."""
    return scene.data.encoding_problems


@flag()
def pretemplated(scene: Scene) -> Value:
    """Whether the texts have chat markers."""
    return scene.data.pretemplated


@word(("near", "far"), chosen=True)
def domain_distance(scene: Scene) -> Value:
    """Distance of the data from general text."""
    return scene.facts.aim.domain_distance or scene.data.domain.distance


@number()
def token_ratio(scene: Scene) -> Value:
    """Tokens a word of the data over tokens a word of general text."""
    domain = scene.data.domain
    if domain.tokens_per_word is None or not domain.general_tokens_per_word:
        return None
    return domain.tokens_per_word / domain.general_tokens_per_word


# The machine


@word(("cuda", "cpu"))
def device(scene: Scene) -> Value:
    """Where trials run."""
    return scene.facts.hardware.device


@number("GPUs")
def gpus(scene: Scene) -> Value:
    """GPUs of all nodes."""
    return scene.facts.hardware.gpus


@number("GiB")
def memory_gib(scene: Scene) -> Value:
    """Memory of one device."""
    return scene.facts.hardware.memory_gib


@flag()
def bf16(scene: Scene) -> Value:
    """Whether matrix products in bfloat16 are faster."""
    return scene.facts.hardware.bf16


@number()
def flash_attention(scene: Scene) -> Value:
    """Version of FlashAttention that is installed and runs on the GPUs; 0 without it."""
    return scene.facts.hardware.flash_attention or 0


@flag()
def joins_rows(scene: Scene) -> Value:
    """Whether rows can be joined without padding: on a CPU, and on GPUs with a kernel for it."""
    return scene.facts.hardware.device == "cpu" or scene.facts.hardware.joins_rows


@number("bytes")
def memory_bytes_per_parameter(scene: Scene) -> Value:
    """Memory of one device over parameters of the model."""
    return scene.facts.hardware.memory_gib * GIB / scene.model.parameters


_CORE = [fact for fact in [*globals().values()] if isinstance(fact, Fact)]
_OF_FEATURES = [fact for _, facts in parts.FACTS.all() for fact in facts]
FACTS: Mapping[str, Fact] = MappingProxyType({f.name: f for f in (*_CORE, *_OF_FEATURES)})


def fact_values(spec: Spec, facts: Facts, model: ModelFacts) -> Values:
    """The value of every fact in the table for one of the base models."""
    scene = Scene(spec, facts, model)
    return MappingProxyType({name: fact.compute(scene) for name, fact in FACTS.items()})
