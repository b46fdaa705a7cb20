"""The types of the facts on which a plan is based: model, data and machine.

An unknown fact is None. A fact that is an estimate says so.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.data.examples import DataFault
from sweeper.data.examples import Split as Split
from sweeper.data.long_rows import LongRow, long_row
from sweeper.spec import AimSpec, Task
from sweeper.units import plural

Missing = Literal["download", "conversion"]
"""The step that a model's weights need before they can be loaded."""
Precision = Literal["fp32", "bf16-mixed", "fp16-mixed", "bf16-pure"]
Quantization = Literal["nf4", "nf4-dq", "int8", "int4"]
#: The optimizer if no other is named: the same update as ``adamw_torch`` in one kernel.
USUAL_OPTIMIZER = "adamw_torch_fused"


class MixtureOfExperts(Record):
    """Routed and shared experts. ``layers`` is the number of layers with experts."""

    experts: int
    experts_per_token: int
    intermediate_size: int
    shared_intermediate_size: int = 0
    layers: int


class LatentAttention(Record):
    """Multi-head latent attention (MLA): ranks and head widths of its projections."""

    q_lora_rank: int | None
    kv_lora_rank: int
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int


class ModelShape(Record):
    """The shape of a model, with the same field names for every family.

    Args:
        model_type: Name in transformers (``llama``, ``bert``, ...).
        attention_only: Whether every layer is attention and a feed-forward block. If not (state
            spaces, recurrences, convolutions), parameter count and memory are rough estimates.
    """

    model_type: str
    kind: Literal["encoder", "decoder", "encoder-decoder"]
    layers: int
    hidden_size: int
    attention_heads: int
    key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocabulary_size: int
    context_length: int
    tied_embeddings: bool
    gated_mlp: bool
    parallel_blocks: bool = False
    moe: MixtureOfExperts | None = None
    mla: LatentAttention | None = None
    dtype: str = "float32"
    attention_only: bool = True


class ModelFacts(ModelShape):
    """The facts about a base model, from its ``config.json`` or the catalogue, not from weights.

    Args:
        source: Where the facts come from. ``size`` means a typical shape of that size.
        folder: The folder with config and tokenizer on this machine, if there is one.
        parameters: Number of parameters; exact if ``parameters_exact``.
        pooling: The model's own pooling of token states into one vector, if it has one.
        weights_note: Note about the weights for the report, such as dequantised from 4 bits.
        missing: None if the weights are on this machine, or if there are none (a size).
    """

    id: str
    revision: str | None = None
    source: Literal["local", "hub", "packaged", "catalogue", "size"]
    folder: str | None = None
    parameters: int = Field(gt=0)
    parameters_exact: bool
    chat_template: bool = False
    pooling: Literal["mean", "cls", "last"] | None = None
    pretraining_peak_learning_rate: float | None = None
    trust_remote_code: bool = False
    license: str | None = None
    weights_note: str | None = None
    missing: Missing | None = None


class LongRows(Record):
    """The rows that exceed the length limit.

    Args:
        cap: Length limit in tokens, with the first model.
        rows: Number of longer rows; an estimate if not all rows were measured.
        of: Number of rows of all splits.
        becomes: What happens to longer rows.
    """

    cap: int
    rows: int
    of: int
    becomes: LongRow


#: The length limit is a multiple of this, which kernels and allocators prefer (NVIDIA, Deep
#: Learning Performance guide, section on tensor core requirements).
_LENGTH_MULTIPLE = 8


class LengthFacts(Record):
    """Lengths of encoded examples in tokens, prompt and answer together.

    ``measured_with`` names the tokenizer, or says how lengths were estimated.
    """

    mean: float
    p50: int
    p90: int
    p99: int
    longest: int
    output_mean: float | None = None
    output_share: float | None = Field(
        None, description="share of answers in the tokens of the longest tenth of the examples"
    )
    measured_with: str
    assumed: bool = Field(False, description="there were no data to measure")
    too_long: LongRows | None = Field(None, description="None if nothing was measured")

    def cap(self, max_length: int | None, context: int) -> int:
        """The length limit: the user's ``max_length``, else one that 99% of the examples fit into.

        It is at most ``context``, the model's context length.
        """
        if max_length is None:
            max_length = -(-self.p99 // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE
        return min(max_length, context)


class LabelCount(Record):
    """The number of rows with one class, over all splits."""

    label: str
    rows: int


class SplitFacts(Record):
    """One split; ``official`` if the source has it, ``hash`` if rows were assigned by hash."""

    name: Split
    rows: int
    origin: Literal["official", "hash"]
    sha256: str = Field(description="of the sorted content hashes of its rows")


class DomainFacts(Record):
    """The distance of the data from general text.

    It is measured by tokens per word under the model's tokenizer and, if asked for, by bits per
    byte under the base model, each on the data and on general text.
    """

    tokens_per_word: float | None = None
    general_tokens_per_word: float | None = None
    bits_per_byte: float | None = None
    general_bits_per_byte: float | None = None
    distance: Literal["near", "far"] | None = None
    decided_by: Literal["user", "tokens-per-word", "bits-per-byte", "unknown"] = "unknown"


class ShownExample(Record):
    """One example as the model reads it.

    Args:
        line: Its line in the file.
        text: The whole text with the chat template's markers. For a classification head, the
            class name is appended, which the model does not read.
        trained: ``(start, end)`` in characters of the parts with a loss, if known.
    """

    line: int
    text: str
    trained: tuple[tuple[int, int], ...] = ()


class SourceFacts(Record):
    """One of several data sources. ``weight`` is its relative share of the training rows; None if
    all rows are used equally often."""

    title: str
    rows: dict[Split, int]
    weight: float | None = None


class DataChange(Record):
    """The change of the rows by one remedy."""

    remedy: str
    action: Literal["changed", "removed"]
    rows: int

    @property
    def summary(self) -> str:
        """The change as text, such as ``duplicates: 12 rows left out``."""
        rows = plural(self.rows, "row")
        return f"{self.remedy}: {rows} {'left out' if self.action == 'removed' else 'changed'}"


class DataSize(Record):
    """The source of the data set and its number of rows."""

    path: str | None = None
    revision: str | None = Field(None, description="commit of a data set of the hub")
    commits: dict[str, str] = Field(default_factory=dict, description="of sources of the hub")
    format: str | None = None
    rows: int
    train_rows: int
    sources: tuple[SourceFacts, ...] = Field((), description="where there are several")
    further_rows: dict[str, int] = Field(
        default_factory=dict, description="rows that features add to train, by their source"
    )


class DataFacts(DataSize):
    """The facts about the data set; if only its size is known, ``path`` is None.

    ``format_evidence`` has the reasons for the recognised format, ``columns`` maps roles to
    columns, and ``fingerprint`` is a SHA-256 over the content of all rows in split order.
    """

    format_evidence: tuple[str, ...] = ()
    columns: dict[str, str] = Field(default_factory=dict)
    splits: tuple[SplitFacts, ...] = ()
    fingerprint: str | None = None
    lengths: LengthFacts | None = None
    labels: tuple[LabelCount, ...] = ()
    duplicate_rows: int = 0
    empty_rows: int = 0
    leaked_rows: int = Field(0, description="validation or test rows whose text is in train")
    conflicting_rows: int = Field(0, description="same input, different answer")
    encoding_problems: int = 0
    changes: tuple[DataChange, ...] = Field(
        (), description="changes of the rows when they were read"
    )
    pretemplated: bool = Field(False, description="texts already contain chat markers")
    domain: DomainFacts = Field(default_factory=DomainFacts)
    faults: tuple[DataFault, ...] = ()
    warnings: tuple[str, ...] = Field((), description="faults and cautions as text")
    example: ShownExample | None = None

    @property
    def examples(self) -> int:
        """The number of rows that are not in validation or test splits of the source."""
        held_out = (s.rows for s in self.splits if s.name != "train" and s.origin == "official")
        return self.rows - sum(held_out)

    def rows_of(self, split: Split) -> int | None:
        """The number of rows of one split; None if unknown."""
        return next((entry.rows for entry in self.splits if entry.name == split), None)


@dataclass(frozen=True, slots=True)
class StepExtra:
    """The work that features add to a training step.

    Args:
        further_share: Share of all trained tokens that features add, in separate batches.
        reference: Whether the base model's outputs are computed as well, for a penalty: by the
            model without its adapter, or by a frozen copy if the base is trained.
    """

    further_share: float = 0.0
    reference: bool = False

    def __add__(self, other: "StepExtra") -> "StepExtra":
        share = self.further_share + other.further_share * (1 - self.further_share)
        return StepExtra(share, self.reference or other.reference)


NO_EXTRA = StepExtra()


class TrainingSetup(Record):
    """Settings of training, besides the parameters, on which time and memory depend.

    Plans, trials and measurements hold one, and the memory formula extends it. The effective
    batch is ``micro_batch`` x ``gradient_accumulation_steps`` x ``gpus``.

    Args:
        micro_batch: Examples in a forward pass on one device.
        gradient_accumulation_steps: Above 1, gradients are kept during the next forward pass.
        evaluation_batch: Items in a forward pass of evaluation; 0 for no evaluation.
        gpus: Number of devices that train one model together, each with a full copy (DDP).
    """

    micro_batch: int = Field(1, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    evaluation_batch: int = 0
    gradient_checkpointing: bool = False
    precision: Precision = "bf16-mixed"
    sequence_length: int = Field(512, description="length limit in tokens, the same in every trial")
    optimizer: str = USUAL_OPTIMIZER
    quantization: Quantization | None = None
    gpus: int = 1

    def key(self, *excluded: str) -> str:
        """A digest of the fields except those excluded, by which set-ups are compared."""
        text = self.model_dump_json(exclude=set(excluded))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Measured(Record):
    """Time and memory of one set-up on this machine, as medians over ``trainings`` trainings.

    Args:
        shape: Digest of the model's architecture.
        mean_length: Mean number of trained tokens of an example.
        seconds_per_step: Seconds of one optimizer step; None if none was finished.
        seconds_per_item: Seconds for scoring one validation item; None if none was scored.
        peak_gib: Peak memory as a trial measures it.
        reserved_gib: Peak memory that CUDA's allocator held; None on a CPU or if not recorded.
        out_of_memory: Whether this micro-batch ran out of memory.
        classes: Classes of a new head, 0 for the vocabulary; None if not recorded.
        extra: The work that features added to a step.
        probe: Digest of the set-up that a probe measured; None for trials.
        threads: Threads of a training on a CPU; None on a GPU or if not recorded.
        when: Day of the last training.
        versions: Versions of libraries that affect speed.
    """

    setup: TrainingSetup
    shape: str
    strategy: str
    mean_length: int
    r: int | None = None
    target_modules: str | None = None
    lora_dropout: float = 0.0
    seconds_per_step: float | None = None
    seconds_per_item: float | None = None
    peak_gib: float | None = None
    reserved_gib: float | None = None
    out_of_memory: bool = False
    classes: int | None = None
    extra: StepExtra = NO_EXTRA
    probe: str | None = None
    threads: int | None = None
    trainings: int = 1
    when: str
    versions: str = ""


class CardFacts(Record):
    """The speed of a GPU model; units as in ``HardwareFacts``."""

    name: str
    bandwidth_gb_per_second: float
    bf16_tflops: float | None = None
    fp32_tflops: float | None = None


class HardwareFacts(Record):
    """The machine that trials run on.

    ``memory_gib`` is the memory of one device: GPU memory, or main memory on a CPU. ``bf16`` says
    whether matrix products in bfloat16 are faster than in float32. ``measured`` are earlier
    trainings on this machine. ``cards`` are possible GPU models, slowest first, if only the memory
    is known.
    """

    device: Literal["cuda", "cpu"]
    name: str
    detected: bool
    gpus: int = Field(ge=0, description="over all nodes; 0 on a CPU")
    nodes: int = 1
    memory_gib: float = Field(gt=0)
    bf16: bool
    bandwidth_gb_per_second: float | None = None
    bf16_tflops: float | None = None
    fp16_tflops: float | None = Field(
        None, description="speed of tensor cores, on GPUs with them but without bfloat16"
    )
    fp32_tflops: float | None = None
    cpu_cores: int | None = None
    ram_gib: float | None = None
    price_per_gpu_hour: float | None = None
    price_source: str = Field("", description="of a list price; empty for the user's")
    calibrated: str | None = Field(None, description="day of the calibration; None without one")
    flash_attention: Literal[2, 3] | None = Field(
        None, description="installed version that runs on these GPUs"
    )
    joins_rows: bool = Field(
        False, description="a kernel for joined (packed) rows is installed and runs on these GPUs"
    )
    fused_kernels: bool = Field(
        False, description="liger-kernel is installed and runs on these GPUs"
    )
    cards: tuple[CardFacts, ...] = ()
    measured: tuple[Measured, ...] = ()


class Facts(Artifact):
    """The input of the planner."""

    task: Task
    models: tuple[ModelFacts, ...] = Field(min_length=1)
    data: DataFacts
    hardware: HardwareFacts
    aim: AimSpec
    classes_by: Literal["head", "generate"] = Field(
        "head", description="how a classifier works: head or generate"
    )
    features: dict[str, Any] = Field(
        default_factory=dict, description="facts of features, by the feature's name"
    )

    @property
    def long_rows(self) -> LongRow:
        """What happens to rows that exceed the length limit."""
        if self.task == "classification":
            return long_row(self.task, has_prompt=self.classes_by == "generate")
        lengths = self.data.lengths
        has_no_answers = (
            lengths is not None and lengths.output_mean is None and not self.data.pretemplated
        )
        return long_row(self.task, has_prompt=self.task != "domain" or not has_no_answers)

    @property
    def splits_long_texts(self) -> bool:
        """Whether long examples become several items: true for plain texts of a domain."""
        return self.long_rows == "divided"
