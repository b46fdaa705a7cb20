"""What the free text of a measurement record means: method, precision, loss, kernel, card.

One function a field; each has a default for text that says nothing.
"""

from __future__ import annotations

import re
from typing import Literal

from benchmarks.memory.record_fields import Record, text_of
from sweeper.errors import UsageError
from sweeper.facts.machine import gpus
from sweeper.facts.record import Quantization
from sweeper.memory.setup import Attention, Loss
from sweeper.plans import Precision

Counter = Literal["allocated", "reserved", "device"]

#: Of what the driver reports, CUDA programs get a little less; measured on an 80 GiB card.
_USABLE = 0.99


def is_sharded(text: str, count: int) -> bool:
    """Whether several devices share a model in parts; so unless data parallelism is named."""
    whole = "ddp" in text or ("data parallel" in text and "shard" not in text)
    return count > 1 and not whole


def strategy_of(method: str) -> str:
    """The strategy that a method is; ``other`` for one that is none of them, LoRA for no words."""
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


#: Words for ways to quantise that ``quantization_of`` knows; others count as the nearest.
QUANTIZED = re.compile(r"nf4|bnb|bitsandbytes|gptq|awq|int4|int8|8[- ]?bit|4[- ]?bit|qlora")


def quantization_of(text: str) -> Quantization | None:
    """How the base is quantised; None for no words."""
    if not text or "none" in text:
        return None
    if "gptq" in text or "awq" in text or "int4" in text or "hqq" in text:
        return "int4"
    if "8" in text and "4" not in text:
        return "int8"
    return "nf4-dq" if "dq" in text or "double" in text else "nf4"


def precision_of(record: Record, strategy: str) -> Precision:
    """What is multiplied and trained in which width; mixed for adapters that do not say."""
    base, trained = text_of(record, "base_dtype"), text_of(record, "trainable_dtype")
    if "float32" in base or "fp32" in base:
        mixed = "autocast" in base or "mixed" in base or "mixed" in trained
        return "bf16-mixed" if mixed else "fp32"
    if strategy == "full":
        return "bf16-mixed" if "float32" in trained or "fp32" in trained else "bf16-pure"
    if "no autocast" in trained or trained.startswith(("bfloat16", "float16")):
        return "bf16-pure"
    return "bf16-mixed"


def loss_of(text: str) -> tuple[Loss, int]:
    """How logits and loss are computed, and the classes of a classification head (0 for none)."""
    match = re.search(r"classification \((\d+)", text)
    if match:
        return "full", int(match[1])
    if "classification" in text:
        return "full", 2
    if "linear" in text or "liger" in text or "cut cross" in text:
        return "fused", 0
    if "chunk" in text:
        return "chunked", 0
    return ("kernel" if "fused" in text or "kernel" in text else "full"), 0


def attention_of(text: str) -> Attention:
    """The attention kernel; SDPA for no words."""
    if "eager" in text or "naive" in text:
        return "eager"
    return "flash" if "flash" in text or "xformers" in text else "sdpa"


def counter_of(text: str) -> Counter:
    """The counter behind a figure; the allocator's reserved memory for no words."""
    if "nvidia-smi" in text or ("device" in text and "reserved" not in text):
        return "device"
    return "allocated" if "allocated" in text else "reserved"


def targets_of(record: Record) -> tuple[str, ...] | str:
    """The modules with adapters; all linear layers for no words."""
    targets = record.get("targets")
    words = targets if isinstance(targets, list) else [targets] if targets else []
    text = " ".join(str(word).lower() for word in words)
    if not text or "all linear" in text or "all-linear" in text:
        return "all-linear"
    if "attention qkv" in text:
        return ("qkv",)
    return tuple(str(word) for word in words)


def dropout_of(record: Record) -> float:
    """Dropout on LoRA's input: most recipes use 0.05, so that is the default."""
    options = record.get("method_hyperparameters")
    if isinstance(options, dict) and isinstance(options.get("lora_dropout"), (int, float)):
        return float(options["lora_dropout"])
    return 0.05


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
