"""The named facts that rules may use, of the core and of the installed features.

Each function below is a fact, and its docstring is what users read about it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType

from sweeper.data.formats import TRAINABLE
from sweeper.facts.record import Facts, ModelFacts
from sweeper.features import parts
from sweeper.planning.rulebook.fact import Fact, FactInput, Value, Values, flag, number, word
from sweeper.spec import TASKS, Spec
from sweeper.units import GIB

# The request


@word(TASKS)
def task(inputs: FactInput) -> Value:
    """The task of the study."""
    return inputs.facts.task


@flag()
def new_head(inputs: FactInput) -> Value:
    """Whether there is a new classification head."""
    return classes_by.compute(inputs) == "head"


@word(("head", "generate"), set_by_user=True)
def classes_by(inputs: FactInput) -> Value:
    """How the task classifies: by a linear head, or by writing the class's name."""
    return inputs.spec.training.classes_by if inputs.facts.task == "classification" else None


@word(several=True, set_by_user=True)
def strategies(inputs: FactInput) -> Value:
    """The strategies that --strategies names; unknown without it."""
    return inputs.facts.aim.strategies


@number("tasks", set_by_user=True)
def tasks_on_one_base(inputs: FactInput) -> Value:
    """Tasks that share the base model."""
    return inputs.facts.aim.tasks_on_one_base


@flag(set_by_user=True)
def class_weight_wanted(inputs: FactInput) -> Value:
    """Whether class weights are requested."""
    return inputs.spec.training.class_weight not in (None, "none")


@flag(set_by_user=True)
def patience_wanted(inputs: FactInput) -> Value:
    """Whether early stopping on validation loss is requested."""
    return inputs.spec.training.early_stopping_patience is not None


@number("epochs", set_by_user=True)
def epochs_wanted(inputs: FactInput) -> Value:
    """Passes over the data that the user asked for, by --epochs."""
    return inputs.spec.training.epochs


# The model


@number("billion")
def parameters_billion(inputs: FactInput) -> Value:
    """Parameters of the model."""
    return inputs.model.parameters / 1e9


@word(("encoder", "decoder", "encoder-decoder"))
def model_kind(inputs: FactInput) -> Value:
    """The kind of the model."""
    return inputs.model.kind


@word()
def model_type(inputs: FactInput) -> Value:
    """The architecture of the model, as transformers spells it."""
    return inputs.model.model_type


@number()
def hidden_size(inputs: FactInput) -> Value:
    """Width of the residual stream."""
    return inputs.model.hidden_size


@number("tokens")
def vocabulary_size(inputs: FactInput) -> Value:
    """Entries of the vocabulary."""
    return inputs.model.vocabulary_size


@number("tokens")
def context_length(inputs: FactInput) -> Value:
    """Context of the model."""
    return inputs.model.context_length


@flag()
def chat_template(inputs: FactInput) -> Value:
    """Whether the tokenizer has a chat template."""
    is_size_only = inputs.model.source == "size"  # a number of parameters instead of a model
    return None if is_size_only else inputs.model.chat_template


@flag()
def mixture_of_experts(inputs: FactInput) -> Value:
    """Whether the model has routed experts."""
    return inputs.model.moe is not None


@word(("mean", "cls", "last"))
def pooling(inputs: FactInput) -> Value:
    """How the model pools token vectors."""
    return inputs.model.pooling


@number()
def pretraining_peak_learning_rate(inputs: FactInput) -> Value:
    """Peak learning rate of pretraining, where it was published."""
    return inputs.model.pretraining_peak_learning_rate


# The data


@number("rows")
def examples(inputs: FactInput) -> Value:
    """Examples before validation and test are taken out of them."""
    return inputs.data.examples


@number("rows")
def train_rows(inputs: FactInput) -> Value:
    """Rows of the train split."""
    return inputs.data.train_rows


@number("rows")
def rows(inputs: FactInput) -> Value:
    """Rows of all splits together."""
    return inputs.data.rows


@number("rows")
def test_rows(inputs: FactInput) -> Value:
    """Rows of the test split."""
    return inputs.data.rows_of("test") or round(inputs.data.rows * inputs.spec.data.test_fraction)


@number("points")
def detectable_points(inputs: FactInput) -> Value:
    """Smallest difference in the share of right answers that the test split can show.

    1.96 standard errors of the paired difference of two shares near one half, correlated by half.
    """
    count = test_rows.compute(inputs)
    return 1.96 * 50 / math.sqrt(max(count, 1)) if isinstance(count, int) else None


@flag()
def data_at_hand(inputs: FactInput) -> Value:
    """Whether a data set was read, and not only a number of rows is given."""
    return inputs.data.path is not None


@word(TRAINABLE)
def data_format(inputs: FactInput) -> Value:
    """Format of the rows."""
    return inputs.data.format


@number("classes")
def classes(inputs: FactInput) -> Value:
    """Number of classes."""
    return len(inputs.data.labels) or None


@number("rows")
def rows_per_class(inputs: FactInput) -> Value:
    """Training rows over classes."""
    return inputs.data.train_rows / len(inputs.data.labels) if inputs.data.labels else None


@number("rows")
def smallest_class_rows(inputs: FactInput) -> Value:
    """Rows of the rarest class in all splits."""
    return min((label.rows for label in inputs.data.labels), default=None)


@number()
def class_imbalance(inputs: FactInput) -> Value:
    """Rows of the most common class over those of the rarest."""
    counts = [label.rows for label in inputs.data.labels]
    return max(counts) / max(min(counts), 1) if counts else None


@number("tokens")
def tokens_p50(inputs: FactInput) -> Value:
    """Length of the median example."""
    return inputs.data.lengths.p50 if inputs.data.lengths else None


@number("tokens")
def tokens_p99(inputs: FactInput) -> Value:
    """99th percentile of the examples' lengths."""
    return inputs.data.lengths.p99 if inputs.data.lengths else None


@flag()
def longest_beyond_context(inputs: FactInput) -> Value:
    """Whether the model's context cuts the longest example."""
    lengths, context = inputs.data.lengths, inputs.model.context_length
    if lengths is None:
        return None
    cap = lengths.cap(inputs.spec.training.max_length, context)
    return not inputs.facts.splits_long_texts and cap == context < lengths.longest


@number()
def output_tokens_per_parameter(inputs: FactInput) -> Value:
    """Tokens of the train split's answers over parameters of the model; a label counts as one.

    Tokens of whole texts where answers are unknown.
    """
    lengths, each = inputs.data.lengths, 1.0
    if inputs.facts.task != "classification":
        if lengths is None:
            return None
        each = lengths.output_mean or lengths.mean
    return inputs.data.train_rows * each / inputs.model.parameters


@number("%")
def duplicate_share(inputs: FactInput) -> Value:
    """Share of the rows that repeat another row's input."""
    return inputs.data.duplicate_rows / max(inputs.data.rows, 1)


@number("%")
def conflicting_share(inputs: FactInput) -> Value:
    """Share of the rows that have the input of another row but a different answer."""
    return inputs.data.conflicting_rows / max(inputs.data.rows, 1)


@flag()
def pretemplated(inputs: FactInput) -> Value:
    """Whether the texts have chat markers."""
    return inputs.data.pretemplated


@word(("near", "far"), set_by_user=True)
def domain_distance(inputs: FactInput) -> Value:
    """Distance of the data from general text."""
    return inputs.facts.aim.domain_distance or inputs.data.domain.distance


# The machine


@word(("cuda", "cpu"))
def device(inputs: FactInput) -> Value:
    """Where trials run."""
    return inputs.facts.hardware.device


@number("GPUs")
def gpus(inputs: FactInput) -> Value:
    """GPUs of all nodes."""
    return inputs.facts.hardware.gpus


@number("GiB")
def memory_gib(inputs: FactInput) -> Value:
    """Memory of one device."""
    return inputs.facts.hardware.memory_gib


@flag()
def bf16(inputs: FactInput) -> Value:
    """Whether matrix products in bfloat16 are faster."""
    return inputs.facts.hardware.bf16


@number()
def flash_attention(inputs: FactInput) -> Value:
    """Version of FlashAttention that is installed and runs on the GPUs; 0 without it."""
    return inputs.facts.hardware.flash_attention or 0


@flag()
def joins_rows(inputs: FactInput) -> Value:
    """Whether rows can be joined without padding: on a CPU, and on GPUs with a kernel for it."""
    return inputs.facts.hardware.device == "cpu" or inputs.facts.hardware.joins_rows


@number("bytes")
def memory_bytes_per_parameter(inputs: FactInput) -> Value:
    """Memory of one device over parameters of the model."""
    return inputs.facts.hardware.memory_gib * GIB / inputs.model.parameters


_OF_CORE = [fact for fact in [*globals().values()] if isinstance(fact, Fact)]
_OF_FEATURES = [fact for _, facts in parts.FACTS.all() for fact in facts]
#: Every fact by its name in rules.
FACTS: Mapping[str, Fact] = MappingProxyType({f.name: f for f in (*_OF_CORE, *_OF_FEATURES)})


def fact_values(spec: Spec, facts: Facts, model: ModelFacts) -> Values:
    """The value of every fact in the table for one of the base models."""
    inputs = FactInput(spec, facts, model)
    return MappingProxyType({name: fact.compute(inputs) for name, fact in FACTS.items()})
