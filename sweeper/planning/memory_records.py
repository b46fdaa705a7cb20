"""Set-ups out of measurement records: free text from many sources, mapped with stated defaults.

A record is a mapping with the fields of published memory measurements (model shape, method,
dtypes, optimizer, batch, length, checkpointing, loss, card). Unknown fields are ignored; what is
missing takes a default that the estimate's assumptions name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.errors import UsageError
from sweeper.facts import gpus
from sweeper.facts.record import MixtureOfExperts, ModelFacts
from sweeper.planning.memory_counters import Counter
from sweeper.planning.memory_setup import Attention, Loss, Quantization, Setup
from sweeper.planning.plan import Precision

Record = Mapping[str, Any]


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


def _text(record: Record, *keys: str) -> str:
    return " ".join(str(record.get(key) or "") for key in keys).lower()


def _number(record: Record, key: str) -> int | None:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if value > 0 else None


_FAMILIES: tuple[tuple[str, str], ...] = (
    ("stablelm-base-alpha", "gpt_neox"), ("pythia", "gpt_neox"), ("neox", "gpt_neox"),
    ("dolly", "gpt_neox"), ("redpajama", "gpt_neox"), ("stablelm", "stablelm"),
    ("mixtral", "mixtral"), ("mistral", "mistral"), ("ministral", "mistral"),
    ("zephyr", "mistral"), ("gemma-3", "gemma3_text"), ("gemma-2", "gemma2"),
    ("gemma", "gemma"), ("qwen3", "qwen3"), ("qwen", "qwen2"), ("phi-3", "phi3"),
    ("phi-4", "phi3"), ("phi", "phi"), ("gpt2", "gpt2"), ("gpt-2", "gpt2"), ("gpt-j", "gptj"),
    ("opt-", "opt"), ("bloom", "bloom"), ("falcon", "falcon"), ("starcoder2", "starcoder2"),
    ("roberta", "roberta"), ("deberta", "deberta-v2"), ("distilbert", "distilbert"),
    ("modernbert", "modernbert"), ("mpnet", "mpnet"), ("minilm", "bert"), ("bert", "bert"),
    ("t5", "t5"), ("chatglm", "chatglm"), ("baichuan", "baichuan"), ("olmo-2", "olmo2"),
    ("command-r", "cohere"), ("cohere", "cohere"), ("llama", "llama"), ("yi", "llama"),
)  # fmt: skip
_ENCODERS = frozenset({"bert", "roberta", "deberta-v2", "distilbert", "modernbert", "mpnet"})
_PARALLEL = frozenset({"gpt_neox", "falcon", "phi", "gptj", "cohere"})


def _family(record: Record) -> str:
    name = _text(record, "model_type", "model", "model_family")
    family = next((kind for word, kind in _FAMILIES if word in name), "llama")
    litgpt = re.search(r"lit-?gpt", _text(record, "source", "library"))
    return "litgpt" if litgpt and family in ("llama", "mistral") else family


def _block_weights(
    hidden: int, wide: int, query: int, key: int, matrices: int, experts: int = 1
) -> int:
    return hidden * (2 * query + 2 * key) + matrices * hidden * wide * experts


def model_of(record: Record) -> tuple[ModelFacts, tuple[str, ...]]:
    """Model facts of a record, with the assumptions that filled gaps.

    Whether the MLP is gated, and how many experts a layer has, follow from which count comes
    nearest to the stated number of parameters.
    """
    assumed: list[str] = []
    parameters = _number(record, "n_params") or _number(record, "parameters")
    hidden, layers = _number(record, "hidden"), _number(record, "layers")
    if hidden is None or layers is None:
        if parameters is None:
            parameters = 7_000_000_000
            assumed.append("neither shape nor size is known: 7e9 parameters assumed")
        # Llama-like shapes: 12 hidden^2 weights a layer and one layer for 128 of width
        hidden = hidden or max(64, round((128 * parameters / 12) ** (1 / 3) / 64) * 64)
        layers = layers or max(1, round(parameters / (12 * hidden * hidden)))
        assumed.append("shape estimated from the number of parameters")
    family = _family(record)
    heads = _number(record, "heads") or max(1, hidden // 128)
    head_dim = _number(record, "head_dim") or hidden // heads
    kv_heads = _number(record, "kv_heads") or heads
    vocabulary = _number(record, "vocab") or _number(record, "vocabulary") or 32000
    wide = _number(record, "intermediate") or 4 * hidden
    tied = bool(record.get("tied_embeddings")) or family in _ENCODERS
    tables = vocabulary * hidden * (1 if tied else 2)
    query, key = heads * head_dim, kv_heads * head_dim
    counts = {m: layers * _block_weights(hidden, wide, query, key, m) + tables for m in (2, 3)}
    parameters = parameters or counts[3]
    gated = abs(counts[3] - parameters) <= abs(counts[2] - parameters)
    moe = None
    spare = parameters - counts[3]
    each = layers * 3 * hidden * wide
    if spare > 0.5 * each and record.get("intermediate"):
        experts = 1 + round(spare / each)
        chosen = 2 if experts < 32 else 8
        moe = MixtureOfExperts(
            experts=experts, experts_per_token=chosen, intermediate_size=wide, layers=layers
        )
        assumed.append(f"{experts} experts, {chosen} a token, inferred from the parameter count")
    facts = ModelFacts(
        id=str(record.get("model") or "unknown"),
        source="catalogue",
        model_type=family,
        kind="encoder" if family in _ENCODERS else "decoder",
        parameters=parameters,
        parameters_exact=False,
        layers=layers,
        hidden_size=hidden,
        attention_heads=heads,
        key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=wide,
        vocabulary_size=vocabulary,
        context_length=_number(record, "sequence_length") or 2048,
        tied_embeddings=tied,
        gated_mlp=gated or moe is not None,
        parallel_blocks=family in _PARALLEL,
        moe=moe,
    )
    return facts, tuple(assumed)


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
    base, trained = _text(record, "base_dtype"), _text(record, "trainable_dtype")
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


def case_of(record: Record, identity: str) -> Case:
    """A record as a set-up to estimate."""
    model, assumed = model_of(record)
    notes = list(assumed)
    strategy = _strategy(_text(record, "method"))
    length, batch = _number(record, "sequence_length"), _number(record, "micro_batch")
    kind = _text(record, "sequence_length_kind")
    known = length is not None and "actual lengths" not in kind and "default" not in kind
    if length is None:
        length = 512
        notes.append("sequence length unknown: 512 assumed")
    if batch is None:
        batch = 1
        notes.append("micro-batch unknown: 1 assumed")
    loss, classes = _loss(_text(record, "loss_impl"))
    precision = _precision(record, strategy)
    trained = _text(record, "trainable_dtype")
    gpus = _number(record, "n_gpus") or 1
    quantization = _quantization(_text(record, "quantization"))
    if "mean" in kind and "cap" not in kind:
        length = round(
            length
            * (_PADDED_PEAK if "padding" in kind and "no padding" not in kind else _PACKED_PEAK)
        )
        notes.append("only the mean length is known: the longest batch decides")
        known = False
    legacy = "v100" in _text(record, "gpu")
    optimizer = _text(record, "optimizer") or "adamw_torch"
    if legacy:  # figures from before torch 2.0
        notes.append("Volta card: optimizer without foreach, gradients kept between steps")
        optimizer = optimizer.replace("adamw", "adamw_hf")
    targets = _targets(record)
    method = _text(record, "method")
    rescales = any(word in method for word in _RESCALING)
    if strategy == "other" and not rescales and record.get("targets") and "adapter" not in method:
        strategy = "lora"  # another adapter on the same layers keeps the same inputs
    trainable = _number(record, "trainable_params") if strategy != "full" else None
    if "block" in method and strategy == "full":
        strategy, trainable = "other", model.parameters // model.layers
        notes.append("one block is trained at a time")
    checkpointing = record.get("gradient_checkpointing") is not False
    setup = Setup(
        strategy=strategy,
        micro_batch=batch,
        sequence_length=length,
        padded=batch > 1 and "padded" in kind,
        gradient_accumulation_steps=2 if legacy else _number(record, "grad_accum") or 1,
        gradient_checkpointing=checkpointing,
        keeps_quantized_inputs=quantization in ("nf4", "nf4-dq") and not checkpointing,
        rescales_outputs=rescales,
        precision=precision,
        base_dtype="float32" if "float32" in _text(record, "base_dtype") else None,
        releases_gradients="into backward" in optimizer or "in backward" in optimizer,
        adapter_bytes=4 if trained.startswith(("float32", "adapter")) else None,
        quantization=quantization,
        optimizer=optimizer,
        attention=_attention(_text(record, "attention_impl")),
        loss=loss,
        classes=classes,
        r=_number(record, "lora_rank") or 16,
        target_modules=targets,
        upcast_norms="upcast" in _text(record, "notes", "trainable_dtype"),
        lora_dropout=_dropout(record),
        use_dora="dora" in _text(record, "method"),
        trainable=trainable,
        gpus=gpus,
        sharding="fsdp" if gpus > 1 else "none",
    )
    return Case(
        id=identity,
        model=model,
        setup=setup,
        counter=_counter(_text(record, "measured")),
        limit_gib=card_gib(record.get("gpu")),
        known=known,
        legacy=legacy,
        assumptions=tuple(notes),
    )
