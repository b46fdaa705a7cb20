"""Set-ups out of measurement records: free text from many sources, mapped with stated defaults.

A record is a mapping with the fields of published memory measurements (model shape, method,
dtypes, optimizer, batch, length, checkpointing, loss, card). Unknown fields are ignored; what is
missing takes a default that the estimate's assumptions name.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.memory.record_fields import Record, flag_of, number_of, text_of, unreadable
from benchmarks.memory.record_model import model_of
from benchmarks.memory.record_words import (
    QUANTIZED,
    Counter,
    attention_of,
    card_gib,
    counter_of,
    dropout_of,
    is_sharded,
    loss_of,
    precision_of,
    quantization_of,
    strategy_of,
    targets_of,
)
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup
from sweeper.memory.states import knows_optimizer, trainable_parameters

_NUMBERS = (
    "n_params", "hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate", "vocab",
    "lora_rank", "trainable_params", "micro_batch", "grad_accum", "sequence_length", "n_gpus",
)  # fmt: skip
_FLAGS = ("gradient_checkpointing", "tied_embeddings")


@dataclass(frozen=True, slots=True)
class Case:
    """One record understood: what to estimate, and which counter its figure comes from.

    ``assumptions`` lists the defaults that filled gaps; ``known`` is False where lengths or shape
    are guesses; ``lengths`` says whether all batches have the same; ``emptied`` that the run
    empties the allocator's cache as it goes; ``legacy`` means libraries from before torch 2.0.
    ``problems`` lists fields that hold something unreadable and were taken for missing.
    """

    id: str
    model: ModelFacts
    setup: Setup
    counter: Counter
    limit_gib: float | None
    known: bool
    lengths: Literal["fixed", "changing"]
    emptied: bool
    legacy: bool
    assumptions: tuple[str, ...]
    problems: tuple[str, ...] = ()


def case_of(record: Record, identity: str) -> Case:
    """A record as a set-up to estimate; never fails, whatever the fields hold."""
    problems = unreadable(record, _NUMBERS, _FLAGS)
    model, assumed = model_of(record)
    notes = list(assumed)
    batch, length, known = _batch(record, notes)
    # Figures on Volta cards are from before torch 2.0: no foreach, gradients kept as zeros.
    legacy = "v100" in text_of(record, "gpu")
    if legacy:
        notes.append("Volta card: optimizer without foreach, gradients kept between steps")
    notes += [note for field, note in _DEFAULTS.items() if record.get(field) in (None, "")]
    setup = Setup(
        micro_batch=batch,
        sequence_length=length,
        **_method(record, model, notes),
        **_memory(record, batch, legacy, notes),
    )
    setup = _with_embeddings(record, model, setup, notes)
    if model.moe is not None:
        setup = setup.replace(experts_are_linear=_linear_experts(record, model, setup))
    return Case(
        id=identity,
        model=model,
        setup=setup,
        counter=counter_of(text_of(record, "measured")),
        limit_gib=card_gib(record.get("gpu")),
        known=known and not problems and not any("estimated" in note for note in assumed),
        lengths=_lengths(record),
        emptied=_emptied(record),
        legacy=legacy,
        assumptions=tuple(notes),
        problems=tuple(problems),
    )


def _emptied(record: Record) -> bool:
    return bool(re.search(r"cache (is )?emptied|empt\w+ (the )?cache", text_of(record, "notes")))


def _lengths(record: Record) -> Literal["fixed", "changing"]:
    """Whether batches differ in length; a cache that is emptied has no gaps of earlier ones."""
    kind = text_of(record, "sequence_length_kind")
    alike = not kind or "fixed" in kind or "(packed)" in kind
    return "fixed" if alike or _emptied(record) else "changing"


#: What a field that a record leaves out is taken to say, beside those that are noted elsewhere.
_DEFAULTS = {
    "method": "method unknown: lora assumed",
    "base_dtype": "base dtype unknown: bfloat16 assumed",
    "optimizer": "optimizer unknown: torch's AdamW assumed",
    "measured": "counter unknown: reserved memory assumed",
    "loss_impl": "loss unknown: full logits assumed",
}


def _with_embeddings(record: Record, model: ModelFacts, setup: Setup, notes: list[str]) -> Setup:
    """The set-up with embeddings and output layer that train beside an adapter."""
    saved = text_of(record, "modules_to_save", "trained_modules")
    tables = int("embed" in text_of(record, "targets") + saved) + int("head" in saved)
    if setup.traits.trains_base or setup.trainable is not None or not tables:
        return setup
    tables = 1 if model.tied_embeddings else tables
    weights = tables * model.vocabulary_size * model.hidden_size
    notes.append(f"{weights:,} weights of embeddings train whole")
    return setup.replace(trainable=trainable_parameters(model, setup) + weights)


def _linear_experts(record: Record, model: ModelFacts, setup: Setup) -> bool:
    """Whether the library kept routed experts as linear layers, as transformers 5 no longer does.

    The number of trained parameters tells; else a version of 5 in the record's words.
    """
    stated = number_of(record, "trainable_params")
    if stated is not None and setup.traits.adds == "low-rank":
        off = {
            linear: abs(math.log(trainable_parameters(model, trial) / stated))
            for linear in (True, False)
            for trial in [setup.replace(experts_are_linear=linear, trainable=None)]
            if trainable_parameters(model, trial) > 0
        }
        if len(set(off.values())) == 2:
            return off[True] < off[False]
    words = text_of(record, "library", "library_version", "notes")
    return re.search(r"transformers[ =v]*5\.", words) is None


def _batch(record: Record, notes: list[str]) -> tuple[int, int, bool]:
    """Examples, tokens of each, and whether the length is that of the largest batch."""
    length, batch = number_of(record, "sequence_length"), number_of(record, "micro_batch")
    kind = text_of(record, "sequence_length_kind")
    known = length is not None and "actual lengths" not in kind and "default" not in kind
    if length is None:
        length = 512
        notes.append("sequence length unknown: 512 assumed")
    if batch is None:
        batch, known = 1, False
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
    strategy = strategy_of(method)
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
        "target_modules": targets_of(record),
        "lora_dropout": dropout_of(record),
        "use_dora": "dora" in method,
        "rescales_outputs": rescales,
        "trainable": trainable,
        "precision": precision_of(record, strategy),
    }


def _memory(record: Record, batch: int, legacy: bool, notes: list[str]) -> dict[str, Any]:
    """The fields of a set-up that say how it is kept and computed."""
    optimizer = text_of(record, "optimizer") or "adamw_torch"
    kind = text_of(record, "sequence_length_kind")
    quantization = quantization_of(text_of(record, "quantization"))
    if not knows_optimizer(optimizer):
        notes.append(f"optimizer {optimizer} is not known: states as large as AdamW's assumed")
    if quantization is not None and not QUANTIZED.search(text_of(record, "quantization")):
        packed = text_of(record, "quantization")
        notes.append(f"quantisation {packed} is not known: {quantization} assumed")
    unsaid = not record.get("quantization")
    if unsaid and "qlora" in text_of(record, "method"):
        quantization = "nf4"
        notes.append("quantisation not stated: nf4 assumed, since the method is qlora")
    checkpointing = flag_of(record, "gradient_checkpointing")
    if checkpointing is None:
        checkpointing = True
        notes.append("gradient checkpointing assumed")
    loss, classes = loss_of(text_of(record, "loss_impl"))
    gpus_used = number_of(record, "n_gpus") or 1
    if is_sharded(text_of(record, "parallelism"), gpus_used):
        notes.append("a model in parts on several GPUs: each is assumed to hold all of it")
    return {
        "padded": batch > 1 and "padded" in kind,
        "gradient_accumulation_steps": 2 if legacy else number_of(record, "grad_accum") or 1,
        "gradient_checkpointing": checkpointing,
        "quantization": quantization,
        "quantized_layers_keep_inputs": _old_four_bits(record, quantization) and not checkpointing,
        "upcast_norms": "upcast" in text_of(record, "notes", "trainable_dtype"),
        "widened_inputs": True,
        "base_dtype": "float32" if "float32" in text_of(record, "base_dtype") else None,
        "optimizer": optimizer.replace("adamw", "adamw_hf") if legacy else optimizer,
        "releases_gradients": bool(re.search(r"(into|in) backward|lomo", optimizer)),
        "attention": attention_of(text_of(record, "attention_impl")),
        "loss": loss,
        "classes": classes,
        "gpus": gpus_used,
    }


def _old_four_bits(record: Record, quantization: str | None) -> bool:
    """Whether 4-bit layers kept their inputs: litgpt's tables are from before bitsandbytes 0.43."""
    litgpt = re.search(r"lit-?gpt", text_of(record, "source", "library"))
    return litgpt is not None and quantization in ("nf4", "nf4-dq")


_RESCALING = ("ia3", "adapter-v2", "(ia)3")


#: Where only the mean length is known: the longest batch of a run, as a multiple of the mean.
#: Measured: fms rows on OpenOrca, whose peaks ask for 3.4 to 3.9 times the mean padded length and
#: 1.4 to 1.6 times the mean packed length.
_PADDED_PEAK = 3.6
_PACKED_PEAK = 1.5
