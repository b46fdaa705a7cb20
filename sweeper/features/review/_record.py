"""The types of a review: a training independent of its trainer, and the findings about it."""

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


_TEXTS = Path(__file__).parent / "_findings.yaml"
#: Fields of ``Training`` that hold several names.
LISTS = ("target_modules", "modules_to_save", "train_data", "validation_data", "new_tokens")


def _name_list(value: object) -> object:
    """The names in a list, in a text with commas, or in mappings that describe data sets."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list):
        names = (next((i[k] for k in ("path", "id") if k in i), "") if isinstance(i, dict) else i
                 for i in value)  # fmt: skip
        return [str(item) for item in names if item not in ("", None)]
    return value


_Names = Annotated[tuple[str, ...], BeforeValidator(_name_list)]
_Count = Annotated[int, Field(ge=1, le=10**12)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Training(Record):
    """The settings of a training; each is None if the file lacks it and no default is known.

    Names are those of transformers and PEFT if these have one. ``packing_masks`` says whether
    attention stays within a packed example, ``prompt_loss`` whether prompts are trained on.
    ``dataset_rows`` is the size of the data set if the trainer's table has it.
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


class FileValue(NamedTuple):
    """A value in the file, with the name and the line of its field."""

    field: str
    line: int
    value: object


class Finding(Record):
    """A fault of a configuration, or another fact to know about it.

    Args:
        fields: Fields of the file; the first one is on ``line``.
        line: Line in the file; 0 if the file has no such field.
        value: The value of the file, or the trainer's default.
        low: Lower end of the accepted range; ``high`` is the upper one.
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
def _texts_by_kind() -> Mapping[str, Mapping[str, str]]:
    texts: Mapping[str, Mapping[str, str]] = yamlfile.read(_TEXTS).data
    return texts


def finding_of_kind(kind: str, trainer: str, **details: Any) -> Finding:
    """A finding with the text of ``_findings.yaml``.

    Args:
        trainer: The address of the trainer's documentation.
        details: Fields of the finding, and placeholders of its text.
    """
    placeholders = {"trainer": trainer, **details}
    texts = {name: text.format_map(placeholders) for name, text in _texts_by_kind()[kind].items()}
    fields = {name: value for name, value in details.items() if name in Finding.model_fields}
    return Finding(kind=kind, **{**texts, **fields})


class PossibleGain(Record):
    """A change that saves time, or moves a value into the range of the evidence.

    Args:
        saved: Share of the predicted time that it saves; None if the gain is in quality.
    """

    what: str
    saved: float | None = None
    change: dict[str, Scalar] = Field(default_factory=dict)


class Review(Record):
    """The review of one configuration of another trainer.

    Args:
        understood: Number of the ``fields`` that the trainer's table explains.
        memory: Peak of one GPU; ``fits`` is None if no GPU is known or nothing can be estimated.
        seconds: Time without validation; None if it is unknown or memory is too small.
        cost_usd: Lower end, middle and upper end; None without a price or a time.
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
