"""The types of a review: the settings of a training, under the same names for all trainers, and
the findings about them.
"""

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
        names = (_name_in(item) if isinstance(item, dict) else item for item in value)
        return [str(name) for name in names if name not in ("", None)]
    return value


def _name_in(mapping: Mapping[str, object]) -> object:
    """The path or the identifier of a data set; empty if it has neither."""
    return next((mapping[key] for key in ("path", "id") if key in mapping), "")


_Names = Annotated[tuple[str, ...], BeforeValidator(_name_list)]
_Count = Annotated[int, Field(ge=1, le=10**12)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Training(Record):
    """The settings of a training. Names are those of transformers and PEFT if these have one.

    A setting has the value in the file, or else the trainer's default, or else the default here,
    which is None if unknown. The trainer's table in ``_formats/`` has its defaults and translates
    its fields. A few settings are derived from others, such as ``max_steps`` from
    ``steps_per_epoch``.

    Args:
        precision: Set by trainers that have one field for it; others set ``bf16``, ``fp16`` and
            ``pure_bf16``.
        quantization: Set by trainers that have one field for it; others set ``load_in_4bit`` and
            ``load_in_8bit``.
        optimizer_variant: Another method that replaces ``optim``, such as GaLore, or a precision
            such as fp8. Memory and time are not estimated with it.
        releases_gradients: Whether the optimizer steps within the backward pass.
        sharding: The file's value, of any type: only whether there is one matters.
        dataset_rows: Size of a data set that the trainer's table knows.
        packing_masks: Whether attention stays within a packed example.
        prompt_loss: Whether prompts are trained on.
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
        change: Values that remove the finding, by field of the file.
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


def finding_of_kind(kind: str, documentation: str, **details: Any) -> Finding:
    """A finding with the text of ``_findings.yaml``.

    Args:
        documentation: The trainer's documentation, for ``{trainer}`` in the text.
        details: Fields of the finding, and values for the placeholders in its text.
    """
    placeholders = {"trainer": documentation, **details}
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
        understood: Number of the ``fields`` that the trainer's table has.
        unknown: The fields that the table does not have.
        memory: Peak of one GPU; ``fits`` is None if no GPU is known or nothing can be estimated.
        seconds: Time without validation; None if it is unknown or memory is too small.
        cost_usd: Lower end, middle and upper end; None without a price or a time.
        assumed: The assumptions of the estimates, as sentences.
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
