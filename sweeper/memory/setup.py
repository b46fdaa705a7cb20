"""A training set-up, as far as memory and time depend on it, and requests to measure it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from sweeper.artifact import Record
from sweeper.facts.record import NO_EXTRA, ModelFacts, StepExtra, TrainingSetup
from sweeper.features import parts
from sweeper.spec import Scalar
from sweeper.traits.traits import Traits, traits_of

Attention = Literal["eager", "sdpa", "flash"]
Loss = Literal["full", "kernel", "chunked", "fused", "by-rows"]  # see ``layers.head_peak``

#: Optimizers as ``TrainingArguments.optim`` spells them; for their memory see ``memory/states``.
OPTIMIZERS = (
    "adamw_torch", "adamw_torch_fused", "adamw_apex_fused", "adamw_8bit", "adamw_bnb_8bit",
    "adamw_torch_8bit", "adamw_torch_4bit", "paged_adamw", "paged_adamw_32bit",
    "paged_adamw_8bit", "sgd", "adafactor", "lion", "lion_32bit", "lion_8bit",
    "paged_lion_32bit", "paged_lion_8bit", "rmsprop", "adagrad", "ademamix", "ademamix_8bit",
    "paged_ademamix_8bit", "lomo", "adalomo",
)  # fmt: skip
#: With ``by-rows``, logits are computed for this many answer tokens at a time.
LOSS_ROWS = 256
#: Traits of methods that are not strategies here: a frozen base, and ``Setup.trainable`` weights.
OTHER = Traits.model_validate(
    {
        "strategy": "other",
        "label": "other",
        "chart": {"color": 0, "shape": "stroke"},
        "gradients_through_base": True,
        "adds": "nothing",
        "trained_parameters": "head",
    }
)


def further_parameters(traits: Traits) -> frozenset[str]:
    """Parameters in a strategy's formulas that are not fields of ``Setup``."""
    return traits.parameters() - Setup.model_fields.keys()


def extra_memory_and_time(parameters: Mapping[str, Scalar]) -> StepExtra:
    """The memory and time that all features add to a step with a trial's parameters."""
    return sum((step(parameters) for _, step in parts.STEP.all()), NO_EXTRA)


class Setup(TrainingSetup):
    """One training set-up with the strategy and all that its memory and time depend on.

    Args:
        strategy: Name of a strategy, or ``other`` for ``OTHER``.
        sequence_length: Tokens of an example after padding or packing.
        padded: Whether attention gets a mask, because examples are padded to one length or a
            sequence holds several documents. Matters only for ``sdpa``.
        base_dtype: Dtype of frozen weights; follows from the precision if None.
        upcast_norms: Whether a quantised model's norms, embeddings and residual stream are
            float32, as after PEFT's ``prepare_model_for_kbit_training``.
        experts_are_linear: Whether routed experts are linear layers, which are quantised and get
            adapters. Since transformers 5 they are stacked parameters, which neither bitsandbytes
            nor PEFT's ``all-linear`` touches.
        quantized_layers_keep_inputs: Whether 4-bit layers keep their inputs, as before
            bitsandbytes 0.43.
        widened_inputs: Whether adapters' inputs are float32 even under autocast: PEFT's default,
            which sweeper's trials switch off.
        rescales_outputs: Whether trained vectors multiply the targeted layers' outputs (IA3,
            LLaMA-Adapter v2), which are then kept.
        releases_gradients: Whether the optimizer steps in the backward pass, a tensor at a time.
        target_modules: PEFT's names, words for a role, or ``all-linear``.
        placement: ``houlsby``: bottlenecks after both sublayers of a block; ``pfeiffer``: after
            the second one.
        modules_to_save: Names of the base's modules of which an adapter trains copies.
        parameters: Further hyperparameters that the number of trained parameters depends on.
        trainable: Number of trained parameters; follows from the strategy if None.
        classes: Classes of a head that replaces the output layer; 0 without one.
        answer_fraction: Share of the tokens whose logits are computed: 1, or the share of the
            answers' tokens if the loss needs no others.
        evaluation_length: Tokens of an evaluated example; ``sequence_length`` if 0.
        extra: What features add to a step.
    """

    strategy: str
    padded: bool = False
    base_dtype: str | None = None
    upcast_norms: bool = False
    experts_are_linear: bool = False
    quantized_layers_keep_inputs: bool = False
    widened_inputs: bool = False
    rescales_outputs: bool = False
    releases_gradients: bool = False
    attention: Attention = "sdpa"
    loss: Loss = "full"
    r: int = 16
    target_modules: tuple[str, ...] | str = "all-linear"
    use_dora: bool = False
    lora_dropout: float = 0.0
    num_virtual_tokens: int = 20
    prefix_projection: bool = False
    encoder_hidden_size: int | None = None
    reduction_factor: int = 16
    placement: Literal["houlsby", "pfeiffer"] = "houlsby"
    modules_to_save: tuple[str, ...] = ()
    parameters: tuple[tuple[str, Scalar], ...] = ()
    trainable: int | None = None
    classes: int = 0
    answer_fraction: float = 1.0
    evaluation_length: int = 0
    device: Literal["cuda", "cpu"] = "cuda"
    extra: StepExtra = NO_EXTRA

    def replace(self, **fields: Any) -> Self:
        """The set-up with other values of these fields."""
        return self.model_copy(update=fields)

    @property
    def traits(self) -> Traits:
        """The traits of the strategy.

        Raises:
            UsageError: No such strategy is installed.
        """
        return OTHER if self.strategy == OTHER.name else traits_of(self.strategy)

    def value(self, name: str) -> Scalar | None:
        """The value of one of the strategy's parameters; None if it is not set.

        >>> setup = Setup(strategy="lora", r=8, parameters=(("beta", 2),))
        >>> setup.value("r"), setup.value("beta"), setup.value("gamma")
        (8, 2, None)
        """
        value: Scalar | None = dict(self.parameters).get(name, getattr(self, name, None))
        return value

    @property
    def tokens(self) -> int:
        """Tokens that pass through the blocks at a time."""
        return self.micro_batch * (self.sequence_length + self.virtual_tokens)

    @property
    def virtual_tokens(self) -> int:
        """Tokens that the strategy puts before each example."""
        return self.num_virtual_tokens if self.traits.adds == "virtual-tokens" else 0

    @property
    def positions(self) -> int:
        """Positions that an example takes up with its virtual tokens or its prefix."""
        prompted = self.traits.adds in ("virtual-tokens", "prefix")
        return self.sequence_length + (self.num_virtual_tokens if prompted else 0)

    @property
    def compute_bytes(self) -> int:
        """Bytes of a number that matrix products work on."""
        return 4 if self.precision == "fp32" else 2

    @property
    def trained_bytes(self) -> int:
        """Bytes of a trained parameter: float32 unless the precision is pure bfloat16."""
        return 2 if self.precision == "bf16-pure" else 4

    @property
    def base_bytes(self) -> int:
        """Bytes of a base weight that is not quantised."""
        if self.traits.trains_base:
            return self.trained_bytes
        if self.base_dtype is not None:
            return 4 if self.base_dtype == "float32" else 2
        return self.compute_bytes

    @property
    def residual_bytes(self) -> int:
        """Bytes of a number in the residual stream."""
        if self.quantization in ("nf4", "nf4-dq", "int8") and self.upcast_norms:
            return 4
        return self.base_bytes


class SetupRequest(Record):
    """A model and a set-up to train it."""

    model: ModelFacts
    setup: Setup


class ProbeRequest(SetupRequest):
    """A set-up whose training steps are measured; examples have ``mean_length`` tokens on
    average."""

    mean_length: int


class Probed(Record):
    """Time and memory that a probe of training steps measured.

    Args:
        peak_gib: Peak as a trial measures it; None, like reserved memory and time, if memory ran
            out.
        reserved_gib: Reserved by CUDA's allocator; None on a CPU.
        free_gib: Free memory of the device before loading, out of ``total_gib``.
    """

    peak_gib: float | None = None
    reserved_gib: float | None = None
    seconds_per_step: float | None = None
    out_of_memory: bool = False
    free_gib: float = 0.0
    total_gib: float = 1.0
