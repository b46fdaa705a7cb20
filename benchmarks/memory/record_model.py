"""The shape of a model out of a measurement record, and what was assumed where it is not said."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.memory.record_fields import Record, number_of, text_of
from benchmarks.memory.record_names import config_in, facts_from, named
from sweeper.facts.record import MixtureOfExperts, ModelFacts

#: Words in a model's name, the most telling first, and transformers' name of its family.
_FAMILIES: tuple[tuple[str, str], ...] = (
    ("stablelm-base-alpha", "gpt_neox"), ("pythia", "gpt_neox"), ("neox", "gpt_neox"),
    ("dolly", "gpt_neox"), ("redpajama", "gpt_neox"), ("stablelm", "stablelm"),
    ("mixtral", "mixtral"), ("mistral", "mistral"), ("ministral", "mistral"),
    ("zephyr", "mistral"), ("gemma-3", "gemma3_text"), ("gemma-2", "gemma2"),
    ("gemma", "gemma"), ("qwen3", "qwen3"), ("qwen", "qwen2"), ("phi-3", "phi3"),
    ("deepseek-v3", "deepseek_v3"), ("deepseek-r1", "deepseek_v3"), ("deepseek-v2", "deepseek_v2"),
    ("phi-4", "phi3"), ("phi", "phi"), ("gpt2", "gpt2"), ("gpt-2", "gpt2"), ("gpt-j", "gptj"),
    ("opt-", "opt"), ("bloom", "bloom"), ("falcon", "falcon"), ("starcoder2", "starcoder2"),
    ("roberta", "roberta"), ("deberta", "deberta-v2"), ("distilbert", "distilbert"),
    ("modernbert", "modernbert"), ("mpnet", "mpnet"), ("minilm", "bert"), ("bert", "bert"),
    ("t5", "t5"), ("chatglm", "chatglm"), ("baichuan", "baichuan"), ("olmo-2", "olmo2"),
    ("command-r", "cohere"), ("cohere", "cohere"), ("llama", "llama"), ("yi", "llama"),
)  # fmt: skip
_ENCODERS = frozenset({"bert", "roberta", "deberta-v2", "distilbert", "modernbert", "mpnet"})
#: Models whose layers are not all attention: state spaces, recurrences, convolutions.
_HYBRIDS = re.compile(
    r"mamba|rwkv|jamba|zamba|bamba|hyena|xlstm|recurrentgemma|recurrent_gemma|lfm2|falcon-?h1|"
    r"nemotron-?h|granite-?4|qwen3[.-]?next|qwen3[._]5|minimax|kimi-linear"
)
_PARALLEL = frozenset({"gpt_neox", "falcon", "phi", "gptj", "cohere"})

_EXPERTS = ("experts", "n_experts", "num_experts", "num_local_experts", "n_routed_experts")
#: How far a stated number of parameters may be from that of the shape found by name.
_SIZE_TOLERANCE = 0.1
#: Size of a model about which a record says nothing.
_UNKNOWN_PARAMETERS = 7_000_000_000


def family_of(record: Record) -> str:
    """The model's family; litgpt has a Llama of its own."""
    name = text_of(record, "model_type", "model", "model_family")
    family = next((kind for word, kind in _FAMILIES if word in name), "llama")
    litgpt = re.search(r"lit-?gpt", text_of(record, "source", "library"))
    return "litgpt" if litgpt and family in ("llama", "mistral") else family


def model_of(record: Record) -> tuple[ModelFacts, tuple[str, ...]]:
    """Model facts of a record, with the assumptions that filled gaps.

    A configuration in the record decides; else the shape that it states; else the catalogue's or
    a typical one of the size in the model's name; else its number of parameters.
    """
    facts, assumed = _found(record)
    words = text_of(record, "model_type", "model", "model_family")
    if not facts.attention_only or _HYBRIDS.search(words):
        assumed = (*assumed, "not all layers are attention: estimated as if they were")
    return facts, assumed


def _found(record: Record) -> tuple[ModelFacts, tuple[str, ...]]:
    config = config_in(record)
    facts = None if config is None else facts_from(record, config)
    if facts is not None:
        return facts, ("shape from the configuration in the record",)
    known = named(record)
    if known is not None:
        config, how = known
        bare = facts_from({}, config)
        if bare is not None and _agrees(record, bare):
            facts = facts_from(record, config)
            assert facts is not None  # the same configuration gave facts above
            litgpt = family_of(record) == "litgpt"
            return facts.model_copy(update={"model_type": "litgpt"} if litgpt else {}), (how,)
    return _from_shape(record)


def _agrees(record: Record, facts: ModelFacts) -> bool:
    """Whether a shape found by name fills gaps of the record and contradicts none of its numbers.

    What a record states in full is taken from it, unless the shape has parts that a record's
    fields do not tell: experts and latent attention.
    """
    stated = number_of(record, "hidden"), number_of(record, "layers")
    hidden_layers = facts.hidden_size, facts.layers
    if any(a is not None and a != b for a, b in zip(stated, hidden_layers, strict=True)):
        return False
    if None not in stated and facts.moe is None and facts.mla is None:
        return False
    parameters = number_of(record, "n_params", "parameters")
    return parameters is None or abs(facts.parameters / parameters - 1) <= _SIZE_TOLERANCE


def _from_shape(record: Record) -> tuple[ModelFacts, tuple[str, ...]]:
    """Facts of a stated or an estimated shape.

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
    moe = _experts(record, (parameters or gated) - gated, layers, hidden * wide, assumed)
    if parameters is None:
        each = 0 if moe is None else moe.experts * moe.intermediate_size - wide
        parameters = gated + 3 * layers * hidden * each
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
    """Experts as stated, or those that the parameters beyond a dense model make up."""
    wide = number_of(record, "moe_intermediate", "moe_intermediate_size", "intermediate")
    stated = number_of(record, *_EXPERTS)
    if stated is not None and stated > 1 and wide is not None:
        chosen = number_of(record, "experts_per_token", "num_experts_per_tok", "top_k") or 2
        return MixtureOfExperts(
            experts=stated,
            experts_per_token=min(chosen, stated),
            intermediate_size=wide,
            layers=layers,
        )
    each = layers * 3 * matrix
    if wide is None or number_of(record, "hidden", "layers") is None or spare <= 0.5 * each:
        return None
    experts = 1 + round(spare / each)
    chosen = 2 if experts < 32 else 8
    assumed.append(f"{experts} experts, {chosen} a token, inferred from the parameter count")
    return MixtureOfExperts(
        experts=experts, experts_per_token=chosen, intermediate_size=wide, layers=layers
    )
