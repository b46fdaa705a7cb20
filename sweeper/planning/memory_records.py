"""Set-ups out of measurement records: free text from many sources, mapped with stated defaults.

A record is a mapping with the fields of published memory measurements (model shape, method,
dtypes, optimizer, batch, length, checkpointing, loss, card). Unknown fields are ignored; what is
missing takes a default that the estimate's assumptions name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sweeper.errors import UsageError
from sweeper.facts import gpus
from sweeper.facts.record import ModelFacts
from sweeper.planning.memory_counters import Counter
from sweeper.planning.memory_record_model import Record, model_of, number_of, text_of
from sweeper.planning.memory_setup import Attention, Loss, Quantization, Setup, Sharding
from sweeper.planning.plan import Precision


@dataclass(frozen=True, slots=True)
class Case:
    """One record understood: what to estimate, and which counter its figure comes from.

    ``assumptions`` lists the defaults that filled gaps; ``known`` is False where lengths or shape
    are guesses; ``legacy`` means libraries from before torch 2.0.
    """

    id: str
    model: ModelFacts
    setup: Setup
    counter: Counter
    limit_gib: float | None
    known: bool
    legacy: bool
    assumptions: tuple[str, ...]


def case_of(record: Record, identity: str) -> Case:
    """A record as a set-up to estimate; never fails, whatever the fields hold."""
    model, assumed = model_of(record)
    notes = list(assumed)
    batch, length, known = _batch(record, notes)
    # Figures on Volta cards are from before torch 2.0: no foreach, gradients kept as zeros.
    legacy = "v100" in text_of(record, "gpu")
    if legacy:
        notes.append("Volta card: optimizer without foreach, gradients kept between steps")
    setup = Setup(
        micro_batch=batch,
        sequence_length=length,
        **_method(record, model, notes),
        **_memory(record, batch, legacy, notes),
    )
    return Case(
        id=identity,
        model=model,
        setup=setup,
        counter=_counter(text_of(record, "measured")),
        limit_gib=card_gib(record.get("gpu")),
        known=known and not any("estimated" in note for note in assumed),
        legacy=legacy,
        assumptions=tuple(notes),
    )


def _batch(record: Record, notes: list[str]) -> tuple[int, int, bool]:
    """Examples, tokens of each, and whether the length is that of the largest batch."""
    length, batch = number_of(record, "sequence_length"), number_of(record, "micro_batch")
    kind = text_of(record, "sequence_length_kind")
    known = length is not None and "actual lengths" not in kind and "default" not in kind
    if length is None:
        length = 512
        notes.append("sequence length unknown: 512 assumed")
    if batch is None:
        batch = 1
        notes.append("micro-batch unknown: 1 assumed")
    if "mean" in kind and "cap" not in kind:
        padded = "padding" in kind and "no padding" not in kind
        length = round(length * (_PADDED_PEAK if padded else _PACKED_PEAK))
        notes.append("only the mean length is known: the longest batch decides")
        known = False
    return batch, length, known


def _method(record: Record, model: ModelFacts, notes: list[str]) -> dict[str, Any]:
    """The fields of a set-up that say what is trained."""
    method = text_of(record, "method")
    strategy = _strategy(method)
    rescales = any(word in method for word in _RESCALING)
    if strategy == "other" and not rescales and record.get("targets") and "adapter" not in method:
        strategy = "lora"  # another adapter on the same layers keeps the same inputs
    trainable = number_of(record, "trainable_params") if strategy != "full" else None
    if "block" in method and strategy == "full":
        strategy, trainable = "other", model.parameters // model.layers
        notes.append("one block is trained at a time")
    return {
        "strategy": strategy,
        "r": number_of(record, "lora_rank") or 16,
        "target_modules": _targets(record),
        "lora_dropout": _dropout(record),
        "use_dora": "dora" in method,
        "rescales_outputs": rescales,
        "trainable": trainable,
        "precision": _precision(record, strategy),
    }


def _memory(record: Record, batch: int, legacy: bool, notes: list[str]) -> dict[str, Any]:
    """The fields of a set-up that say how it is kept and computed."""
    optimizer = text_of(record, "optimizer") or "adamw_torch"
    trained, kind = text_of(record, "trainable_dtype"), text_of(record, "sequence_length_kind")
    quantization = _quantization(text_of(record, "quantization"))
    checkpointing = record.get("gradient_checkpointing")
    if not isinstance(checkpointing, bool):
        checkpointing = True
        notes.append("gradient checkpointing assumed")
    loss, classes = _loss(text_of(record, "loss_impl"))
    gpus_used = number_of(record, "n_gpus") or 1
    return {
        "padded": batch > 1 and "padded" in kind,
        "gradient_accumulation_steps": 2 if legacy else number_of(record, "grad_accum") or 1,
        "gradient_checkpointing": checkpointing,
        "quantization": quantization,
        "quantizes_experts": True,  # libraries of their time kept experts as linear layers
        "keeps_quantized_inputs": quantization in ("nf4", "nf4-dq") and not checkpointing,
        "upcast_norms": "upcast" in text_of(record, "notes", "trainable_dtype"),
        "base_dtype": "float32" if "float32" in text_of(record, "base_dtype") else None,
        "adapter_bytes": 4 if trained.startswith(("float32", "adapter")) else None,
        "optimizer": optimizer.replace("adamw", "adamw_hf") if legacy else optimizer,
        "releases_gradients": bool(re.search(r"(into|in) backward|lomo", optimizer)),
        "attention": _attention(text_of(record, "attention_impl")),
        "loss": loss,
        "classes": classes,
        "gpus": gpus_used,
        "sharding": _sharding(text_of(record, "parallelism"), gpus_used),
    }


def _sharding(text: str, count: int) -> Sharding:
    if count == 1:
        return "none"
    return "ddp" if "ddp" in text or ("data parallel" in text and "shard" not in text) else "fsdp"


_RESCALING = ("ia3", "adapter-v2", "(ia)3")


def _strategy(method: str) -> str:
    if "full" in method and "lora" not in method:
        return "full"
    for word, strategy in (
        ("qlora", "qlora"), ("llama-adapter", "other"), ("adalora", "lora"), ("lora", "lora"),
        ("prefix", "prefix"), ("p-tuning", "ptuning"), ("ptuning", "ptuning"),
        ("prompt", "ptuning"), ("adapter", "adapter"), ("head", "head"), ("probe", "head"),
    ):  # fmt: skip
        if word in method:
            return strategy
    return "other" if method else "lora"


def _quantization(text: str) -> Quantization | None:
    if not text or "none" in text:
        return None
    if "gptq" in text or "awq" in text:
        return "int4"
    if "8" in text and "4" not in text:
        return "int8"
    return "nf4-dq" if "dq" in text or "double" in text else "nf4"


def _precision(record: Record, strategy: str) -> Precision:
    base, trained = text_of(record, "base_dtype"), text_of(record, "trainable_dtype")
    if "float32" in base or "fp32" in base:
        mixed = "autocast" in base or "mixed" in base or "mixed" in trained
        return "bf16-mixed" if mixed else "fp32"
    if strategy == "full":
        return "bf16-mixed" if "float32" in trained or "fp32" in trained else "bf16-pure"
    if "no autocast" in trained or trained.startswith(("bfloat16", "float16")):
        return "bf16-pure"
    return "bf16-mixed"


def _loss(text: str) -> tuple[Loss, int]:
    match = re.search(r"classification \((\d+)", text)
    if match:
        return "full", int(match[1])
    if "classification" in text:
        return "full", 2
    if "linear" in text or "liger" in text or "cut cross" in text:
        return ("chunked" if "chunk" in text else "fused"), 0
    if "chunk" in text:
        return "chunked", 0
    return ("kernel" if "fused" in text or "kernel" in text else "full"), 0


def _attention(text: str) -> Attention:
    if "eager" in text or "naive" in text:
        return "eager"
    return "flash" if "flash" in text or "xformers" in text else "sdpa"


def _counter(text: str) -> Counter:
    if "nvidia-smi" in text or ("device" in text and "reserved" not in text):
        return "device"
    return "allocated" if "allocated" in text else "reserved"


def _targets(record: Record) -> tuple[str, ...] | str:
    targets = record.get("targets")
    words = targets if isinstance(targets, list) else [targets] if targets else []
    text = " ".join(str(word).lower() for word in words)
    if not text or "all linear" in text or "all-linear" in text:
        return "all-linear"
    if "attention qkv" in text:
        return ("qkv",)
    return tuple(str(word) for word in words)


#: Where only the mean length is known: the longest batch of a run, as a multiple of the mean.
#: Measured: fms rows on OpenOrca, whose peaks ask for 3.4 to 3.9 times the mean padded length and
#: 1.4 to 1.6 times the mean packed length.
_PADDED_PEAK = 3.6
_PACKED_PEAK = 1.5


def _dropout(record: Record) -> float:
    """Dropout on LoRA's input: most recipes use 0.05, so that is the default."""
    options = record.get("method_hyperparameters")
    if isinstance(options, dict) and isinstance(options.get("lora_dropout"), (int, float)):
        return float(options["lora_dropout"])
    return 0.05


#: Of what the driver reports, CUDA programs get a little less; measured on an 80 GiB card.
_USABLE = 0.99


def card_gib(name: object) -> float | None:
    """Usable memory of a card by name; from a size in the name if the card is not in the table."""
    text = str(name or "")
    if not text.strip():
        return None
    try:
        known = gpus.find(text)
    except UsageError:  # several cards of that name, alike in memory or not
        known = None
    match = re.search(r"(\d+)\s*gi?b", text.lower())
    gib = known.memory_gib if known else float(match[1]) if match else None
    return gib * _USABLE if gib else None
