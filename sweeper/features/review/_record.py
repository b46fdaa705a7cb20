"""The types of a review: one training in neutral words, and what was found about it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field

from sweeper import yamlfile
from sweeper.artifact import Record
from sweeper.plans import Duration, MemoryEstimate
from sweeper.spec import Scalar

Method = Literal["full", "lora", "qlora", "other"]
Stage = Literal["sft", "pretraining", "preference"]
Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


_KINDS = Path(__file__).parent / "_findings.yaml"
#: Fields that hold several names.
LISTS = ("target_modules", "modules_to_save", "train_data", "validation_data", "new_tokens")


def _texts(value: object) -> object:
    """Names of a list, of a text with commas, or of the mappings of data sets."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list):
        named = (next((i[k] for k in ("path", "id") if k in i), "") if isinstance(i, dict) else i
                 for i in value)  # fmt: skip
        return [str(item) for item in named if item not in ("", None)]
    return value


_Names = Annotated[tuple[str, ...], BeforeValidator(_texts)]
_Count = Annotated[int, Field(ge=1, le=10**12)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Training(Record):
    """What a trainer is asked to do. None where the file says nothing and no default is known.

    Names are those of transformers and PEFT where these have one. ``packing_masks`` says whether
    attention stays within a packed example, ``prompt_loss`` whether prompts are trained on.
    ``dataset_rows`` are those of a data set whose size the table has.
    """

    model: str | None = None
    method: Method = "full"
    stage: Stage = "sft"
    weights_dtype: str | None = None
    precision: Literal["fp32", "bf16-mixed", "fp16-mixed", "bf16-pure"] | None = None
    bf16: bool | None = None
    fp16: bool | None = None
    pure_bf16: bool | None = None
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    quantization: Literal["nf4", "nf4-dq", "int8"] | None = None
    learning_rate: _Amount | None = None
    lr_scheduler_type: str | None = None
    warmup_ratio: _Amount | None = None
    warmup_steps: _Amount | None = None
    num_train_epochs: _Amount | None = None
    max_steps: int | None = None
    steps_per_epoch: _Count | None = None
    weight_decay: _Amount | None = None
    max_grad_norm: float | None = None
    optim: str | None = None
    optimizer_variant: str | None = None
    releases_gradients: bool = False
    neftune_noise_alpha: _Amount | None = None
    micro_batch: _Count | None = None
    evaluation_batch: _Count | None = None
    gradient_accumulation_steps: _Count | None = None
    global_batch: _Count | None = None
    gpus: _Count | None = None
    nodes: _Count | None = None
    sequence_length: _Count | None = None
    gradient_checkpointing: bool = False
    attention: str | None = None
    fused_loss: bool = False
    sharding: str | bool | list[object] | int | None = None
    r: int | None = Field(None, ge=0, le=10**6)
    lora_alpha: _Amount | None = None
    lora_dropout: _Amount | None = None
    target_modules: _Names | None = None
    modules_to_save: _Names | None = None
    use_rslora: bool = False
    use_dora: bool = False
    loraplus_lr_ratio: _Amount | None = None
    train_data: _Names | None = None
    validation_data: _Names | None = None
    train_split: str | None = None
    eval_split: str | None = None
    validation_share: _Amount | None = None
    max_rows: _Count | None = None
    dataset_rows: _Count | None = None
    packing: bool | None = None
    packing_masks: bool | None = None
    packing_strategy: str | None = None
    padding_free: bool = False
    prompt_loss: bool | None = None
    chat_template: str | None = None
    new_tokens: _Names | None = None
    eval_strategy: str | bool | None = None
    eval_steps: _Amount | None = None
    evals_per_epoch: _Amount | None = None


class Given(NamedTuple):
    """A value as the file has it: the field's name there, the line, and the value."""

    field: str
    line: int
    value: object


class Finding(Record):
    """One thing to know about a configuration.

    Args:
        fields: Of the file; the first one is on ``line``.
        line: 0 where the file says nothing about it.
        value: What the file or the trainer's default says.
        low: With ``high``, what the evidence covers.
        source: Paper, documentation or measurement.
        change: The fields of the file with the values that remove the finding.
    """

    kind: str
    level: Level
    fields: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    what: str
    why: str = ""
    source: str = ""
    rule: str = ""
    value: Scalar | None = None
    low: float | None = None
    high: float | None = None
    fix: str = ""
    change: dict[str, Scalar] = Field(default_factory=dict)


@cache
def _kinds() -> Mapping[str, Mapping[str, str]]:
    kinds: Mapping[str, Mapping[str, str]] = yamlfile.read(_KINDS).data
    return kinds


def worded(kind: str, trainer: str, **more: Any) -> Finding:
    """A finding in the words of ``_findings.yaml``.

    Args:
        trainer: The documentation of the trainer.
        more: Fields of the finding, and words for its text.
    """
    words = {"trainer": trainer, **more}
    texts = {name: text.format_map(words) for name, text in _kinds()[kind].items()}
    own = {name: value for name, value in more.items() if name in Finding.model_fields}
    return Finding(kind=kind, **{**texts, **own})


class PossibleGain(Record):
    """A change that saves time or comes closer to the evidence; the largest is first.

    Args:
        saved: Share of the predicted time; None where the gain is in quality.
    """

    what: str
    saved: float | None = None
    change: dict[str, Scalar] = Field(default_factory=dict)


class Review(Record):
    """What sweeper says about one configuration of another trainer.

    Args:
        understood: Fields that a table explains, among ``fields`` of them.
        memory: Of one GPU; ``fits`` is None where no GPU is known or nothing could be estimated.
        seconds: Of the training alone, without validation; None where rows or speed are unknown.
        cost_usd: Low, middle and high.
        patch: A unified diff of the file.
    """

    file: str
    format: str
    fields: int
    understood: int
    unknown: tuple[str, ...]
    training: Training
    memory: MemoryEstimate | None = None
    fits: bool | None = None
    steps: int | None = None
    seconds: Duration | None = None
    cost_usd: tuple[float, ...] | None = None
    assumed: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    gains: tuple[PossibleGain, ...] = ()
    patch: str = ""
