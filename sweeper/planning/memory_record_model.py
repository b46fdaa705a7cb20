"""The shape of a model out of a measurement record, and what was assumed where it is not said."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from sweeper.facts.record import MixtureOfExperts, ModelFacts

Record = Mapping[str, Any]

#: Words in a model's name, the most telling first, and transformers' name of its family.
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

#: Size of a model about which a record says nothing.
_UNKNOWN_PARAMETERS = 7_000_000_000


def text_of(record: Record, *keys: str) -> str:
    """The values of some fields as one lower-case text."""
    return " ".join(str(record.get(key) or "") for key in keys).lower()


def number_of(record: Record, *keys: str) -> int | None:
    """The first of some fields that holds a positive number."""
    for key in keys:
        value = record.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if math.isfinite(value) and value >= 1:
            return int(value)
    return None


def family_of(record: Record) -> str:
    """The model's family; litgpt has a Llama of its own."""
    name = text_of(record, "model_type", "model", "model_family")
    family = next((kind for word, kind in _FAMILIES if word in name), "llama")
    litgpt = re.search(r"lit-?gpt", text_of(record, "source", "library"))
    return "litgpt" if litgpt and family in ("llama", "mistral") else family


def model_of(record: Record) -> tuple[ModelFacts, tuple[str, ...]]:
    """Model facts of a record, with the assumptions that filled gaps.

    Whether the MLP is gated, and how many experts a layer has, follow from which count comes
    nearest to the stated number of parameters.
    """
    assumed: list[str] = []
    family = family_of(record)
    parameters = number_of(record, "n_params", "parameters")
    hidden, layers = _size(record, parameters, assumed)
    heads = number_of(record, "heads") or max(1, hidden // 128)
    head_dim = number_of(record, "head_dim") or max(1, hidden // heads)
    kv_heads = number_of(record, "kv_heads") or heads
    vocabulary = number_of(record, "vocab", "vocabulary") or 32000
    wide = number_of(record, "intermediate") or 4 * hidden
    tied = bool(record.get("tied_embeddings")) or family in _ENCODERS
    stacks = 2 if family == "t5" else 1
    attention = 2 * hidden * head_dim * (heads + kv_heads)
    tables = vocabulary * hidden * (1 if tied else 2)
    plain, gated = (stacks * layers * (attention + n * hidden * wide) + tables for n in (2, 3))
    parameters = parameters or gated
    moe = _experts(record, parameters - gated, layers, hidden * wide, assumed)
    is_gated = moe is not None or abs(gated - parameters) <= abs(plain - parameters)
    facts = ModelFacts(
        id=str(record.get("model") or "unknown"),
        source="catalogue",
        model_type=family,
        kind=_kind(family),
        parameters=parameters,
        parameters_exact=False,
        layers=layers,
        hidden_size=hidden,
        attention_heads=heads,
        key_value_heads=kv_heads,
        head_dim=head_dim,
        intermediate_size=wide,
        vocabulary_size=vocabulary,
        context_length=number_of(record, "sequence_length") or 2048,
        tied_embeddings=tied,
        gated_mlp=is_gated,
        parallel_blocks=family in _PARALLEL,
        moe=moe,
    )
    return facts, tuple(assumed)


def _kind(family: str) -> Any:
    if family in _ENCODERS:
        return "encoder"
    return "encoder-decoder" if family == "t5" else "decoder"


def _size(record: Record, parameters: int | None, assumed: list[str]) -> tuple[int, int]:
    """Width and depth; where one is missing, those of a Llama with so many parameters."""
    hidden, layers = number_of(record, "hidden"), number_of(record, "layers")
    if hidden is not None and layers is not None:
        return hidden, layers
    if parameters is None:
        parameters = _UNKNOWN_PARAMETERS
        assumed.append("neither shape nor size is known: 7e9 parameters assumed")
    assumed.append("shape estimated from the number of parameters")
    # 12 hidden^2 weights a layer, and one layer for 128 of width
    hidden = hidden or max(64, round((128 * parameters / 12) ** (1 / 3) / 64) * 64)
    return hidden, layers or max(1, round(parameters / (12 * hidden * hidden)))


def _experts(
    record: Record, spare: int, layers: int, matrix: int, assumed: list[str]
) -> MixtureOfExperts | None:
    """Experts that the parameters beyond a dense model make up."""
    each = layers * 3 * matrix
    wide = number_of(record, "intermediate")
    if wide is None or number_of(record, "hidden", "layers") is None or spare <= 0.5 * each:
        return None
    experts = 1 + round(spare / each)
    chosen = 2 if experts < 32 else 8
    assumed.append(f"{experts} experts, {chosen} a token, inferred from the parameter count")
    return MixtureOfExperts(
        experts=experts, experts_per_token=chosen, intermediate_size=wide, layers=layers
    )
