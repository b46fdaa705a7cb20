"""What distinguishes the common model families, as data: biases, norms, names, defaults.

Field names are those of transformers' configuration classes; ``defaults`` holds what these classes
assume where a published ``config.json`` leaves a field out.

Source: the modelling and configuration files of transformers; the counts that follow from this
table are compared with real model classes in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

Kind = Literal["encoder", "decoder", "encoder-decoder"]
Flag = bool | str
"""True, False, or the name of the config field that decides."""

Role = Literal[
    "q", "k", "v", "qkv", "o", "gate", "up", "gate_up", "down",
    "q_a", "q_b", "kv_a", "kv_b", "shared_gate", "shared_up", "shared_down",
]  # fmt: skip
Names = Mapping[Role, str]


def _called(roles: str, names: str) -> Names:
    return cast(Names, dict(zip(roles.split(), names.split(), strict=True)))


LLAMA_NAMES = _called(
    "q k v o gate up down q_a q_b kv_a kv_b shared_gate shared_up shared_down",
    "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj q_a_proj q_b_proj kv_a_proj_with_mqa "
    "kv_b_proj gate_proj up_proj down_proj",
)
_NEOX_NAMES = _called("qkv o up down", "query_key_value dense dense_h_to_4h dense_4h_to_h")
_BERT_NAMES = _called("q k v o up down", "query key value dense dense dense")
_GLM_NAMES: Names = {**LLAMA_NAMES, "gate_up": "gate_up_proj"}


@dataclass(frozen=True)
class Family:
    """One family of architectures.

    Args:
        norm: Parameters of a norm for each channel: 1 for RMSNorm or a LayerNorm without bias, 2
            with bias, 0 without weights.
        norms: Norms of hidden width in each layer.
        qk_norm: Norm of queries and keys: each ``head`` alone, or ``full`` width.
        positions: Rows of a learned position table beyond ``max_position_embeddings``; None where
            there is no table.
        reserved_positions: Rows of that table that no token can have (RoBERTa's padding offset).
        embedding_norm: A norm directly after the embeddings.
        pooler: A dense layer on the first token, part of the base model.
        exact: The parameters that follow from this table are those of the real model.
        names: Role to module name in transformers, as PEFT's ``target_modules`` refers to it.
        defaults: Config field to the value that a missing field means.
    """

    kind: Kind = "decoder"
    gated: bool = True
    norm: int = 1
    norms: int = 2
    final_norm: bool = True
    qkv_bias: Flag = False
    out_bias: Flag = False
    mlp_bias: Flag = False
    head_bias: Flag = False
    qk_norm: Literal["head", "full"] | None = None
    positions: int | None = None
    reserved_positions: int = 0
    embedding_norm: bool = False
    pooler: bool = False
    parallel: Flag = False
    exact: bool = True
    names: Names = field(default_factory=lambda: LLAMA_NAMES)
    defaults: Mapping[str, object] = field(default_factory=dict)


def _biased(flag: Flag) -> dict[str, Any]:
    """Biases of all linear layers of a block, by one flag."""
    return {"qkv_bias": flag, "out_bias": flag, "mlp_bias": flag}


_ATTENTION: dict[str, Any] = {"qkv_bias": "attention_bias", "out_bias": "attention_bias"}
_NAMED_BIASES: dict[str, Any] = {**_ATTENTION, "mlp_bias": "mlp_bias"}
_TIED = {"tie_word_embeddings": True}
_UNTIED = {"tie_word_embeddings": False}

_LLAMA = Family(**_NAMED_BIASES, defaults=_UNTIED)
_BERT = Family(
    kind="encoder",
    names=_BERT_NAMES,
    gated=False,
    norm=2,
    final_norm=False,
    **_biased(True),
    positions=0,
    embedding_norm=True,
    pooler=True,
    defaults={**_TIED, "type_vocab_size": 2, "max_position_embeddings": 512},
)
_GPT2 = Family(
    names=_called("qkv o up down", "c_attn c_proj c_fc c_proj"),
    gated=False,
    norm=2,
    **_biased(True),
    positions=0,
    defaults={**_TIED, "n_positions": 1024, "vocab_size": 50257},
)
_GEMMA = Family(**_ATTENTION, defaults={**_TIED, "head_dim": 256})

_GPTJ = Family(
    names=_called("q k v o up down", "q_proj k_proj v_proj out_proj fc_in fc_out"),
    gated=False,
    norm=2,
    norms=1,
    mlp_bias=True,
    head_bias=True,
    parallel=True,
    defaults={**_UNTIED, "n_positions": 2048},
)
_QWEN_HYBRID = Family(
    **_ATTENTION,
    qk_norm="head",
    defaults={
        **_UNTIED,
        "head_dim": 256,
        "decoder_sparse_step": 1,
        "full_attention_interval": 4,
        "linear_conv_kernel_dim": 4,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_num_key_heads": 16,
        "linear_num_value_heads": 32,
    },
)
"""Gated attention in every fourth layer, Gated DeltaNet (arXiv:2412.06464) in the others."""

FAMILIES: Mapping[str, Family] = {
    "llama": _LLAMA,
    "mistral": Family(defaults={**_UNTIED, "num_key_value_heads": 8}),
    "mixtral": Family(
        defaults={
            **_UNTIED,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "num_experts_per_tok": 2,
        }
    ),
    "qwen2": Family(qkv_bias=True, defaults=_UNTIED),
    "qwen3": Family(**_ATTENTION, qk_norm="head", defaults={**_UNTIED, "head_dim": 128}),
    "qwen2_moe": Family(
        qkv_bias="qkv_bias", defaults={**_UNTIED, "qkv_bias": True, "decoder_sparse_step": 1}
    ),
    "qwen3_moe": Family(
        **_ATTENTION, qk_norm="head", defaults={**_UNTIED, "decoder_sparse_step": 1}
    ),
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _QWEN_HYBRID),
    "deepseek_v2": Family(
        out_bias="attention_bias", defaults={**_UNTIED, "q_lora_rank": 1536, "n_shared_experts": 2}
    ),
    "deepseek_v3": Family(
        out_bias="attention_bias", defaults={**_UNTIED, "q_lora_rank": 1536, "n_shared_experts": 1}
    ),
    "gemma": _GEMMA,
    "gemma2": replace(_GEMMA, norms=4),
    "gemma3_text": replace(
        _GEMMA,
        norms=4,
        qk_norm="head",
        defaults={
            **_GEMMA.defaults,
            "vocab_size": 262_208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "max_position_embeddings": 131_072,
        },
    ),
    "phi": Family(
        names=_called("q k v o up down", "q_proj k_proj v_proj dense fc1 fc2"),
        gated=False,
        norm=2,
        norms=1,
        **_biased(True),
        head_bias=True,
        parallel=True,
        defaults=_UNTIED,
    ),
    "phi3": Family(
        names=_called("qkv o gate_up down", "qkv_proj o_proj gate_up_proj down_proj"),
        defaults=_UNTIED,
    ),
    "smollm3": Family(**_NAMED_BIASES, defaults={**_TIED, "num_key_value_heads": 4}),
    "granite": _LLAMA,
    "granitemoehybrid": Family(
        names={**LLAMA_NAMES, "gate_up": "input_linear", "down": "output_linear"},
        **_ATTENTION,
        defaults=_UNTIED,
    ),
    "ministral3": Family(defaults={**_UNTIED, "num_key_value_heads": 8}),
    "ernie4_5": Family(
        **_biased("use_bias"), defaults={**_TIED, "use_bias": False, "head_dim": 128}
    ),
    "gpt_oss": Family(
        **_ATTENTION,
        mlp_bias=True,
        defaults={**_UNTIED, "attention_bias": True, "head_dim": 64, "num_key_value_heads": 8},
    ),
    "llama4_text": Family(
        **_ATTENTION, defaults={**_UNTIED, "n_shared_experts": 1, "interleave_moe_layer_step": 1}
    ),
    "phimoe": Family(
        norm=2,
        **_ATTENTION,
        head_bias="lm_head_bias",
        defaults={**_UNTIED, "num_key_value_heads": 8},
    ),
    "olmo": Family(norm=0, **_ATTENTION, defaults=_UNTIED),
    "olmo2": Family(**_ATTENTION, qk_norm="full", defaults=_UNTIED),
    "olmo3": Family(**_ATTENTION, qk_norm="full", defaults=_UNTIED),
    "olmoe": Family(**_ATTENTION, qk_norm="full", defaults=_UNTIED),
    "cohere": Family(norms=1, **_ATTENTION, parallel=True, defaults=_TIED),
    "glm": Family(
        names=_GLM_NAMES,
        qkv_bias="attention_bias",
        defaults={**_UNTIED, "num_key_value_heads": 2, "head_dim": 128},
    ),
    "glm4": Family(
        names=_GLM_NAMES,
        norms=4,
        qkv_bias="attention_bias",
        defaults={**_UNTIED, "num_key_value_heads": 2, "head_dim": 128},
    ),
    "glm4_moe": Family(
        qkv_bias="attention_bias",
        qk_norm="head",
        defaults={**_UNTIED, "use_qk_norm": False, "n_shared_experts": 1},
    ),
    "glm4_moe_lite": Family(
        out_bias="attention_bias", defaults={**_UNTIED, "q_lora_rank": 768, "n_shared_experts": 1}
    ),
    "stablelm": Family(
        norm=2, qkv_bias="use_qkv_bias", parallel="use_parallel_residual", defaults=_UNTIED
    ),
    "gpt2": _GPT2,
    "gpt_neox": Family(
        names=_NEOX_NAMES,
        gated=False,
        norm=2,
        **_ATTENTION,
        mlp_bias=True,
        parallel="use_parallel_residual",
        defaults={**_UNTIED, "attention_bias": True, "use_parallel_residual": True},
    ),
    "opt": Family(
        names=_called("q k v o up down", "q_proj k_proj v_proj out_proj fc1 fc2"),
        gated=False,
        norm=2,
        **_biased("enable_bias"),
        positions=2,
        defaults={**_TIED, "enable_bias": True, "do_layer_norm_before": True},
    ),
    "falcon": Family(
        names=_NEOX_NAMES,
        gated=False,
        norm=2,
        norms=1,
        **_biased("bias"),
        parallel="parallel_attn",
        defaults={
            **_TIED,
            "multi_query": True,
            "parallel_attn": True,
            "max_position_embeddings": 2048,
        },
    ),
    "starcoder2": Family(
        names=_called("q k v o up down", "q_proj k_proj v_proj o_proj c_fc c_proj"),
        gated=False,
        norm=2,
        **_biased("use_bias"),
        defaults={**_TIED, "use_bias": True, "num_key_value_heads": 2},
    ),
    "gpt_neo": Family(
        names=_called("q k v o up down", "q_proj k_proj v_proj out_proj c_fc c_proj"),
        gated=False,
        norm=2,
        out_bias=True,
        mlp_bias=True,
        positions=0,
        defaults={**_TIED, "max_position_embeddings": 2048, "vocab_size": 50257},
    ),
    "gptj": _GPTJ,
    "codegen": replace(_GPTJ, names=_called("qkv o up down", "qkv_proj out_proj fc_in fc_out")),
    "gpt_bigcode": replace(
        _GPT2, defaults={**_GPT2.defaults, "multi_query": True, "n_positions": 1024}
    ),
    "mpt": Family(
        names=_called("qkv o up down", "Wqkv out_proj up_proj down_proj"),
        gated=False,
        norm=1,
        defaults={**_TIED, "max_seq_len": 2048},
    ),
    "nemotron": Family(gated=False, norm=2, **_NAMED_BIASES, defaults=_UNTIED),
    "arcee": Family(gated=False, **_NAMED_BIASES, defaults=_UNTIED),
    "apertus": Family(gated=False, qk_norm="head", exact=False, defaults=_UNTIED),
    "persimmon": Family(
        names=_NEOX_NAMES,
        qk_norm="head",
        gated=False,
        norm=2,
        **_biased(True),
        exact=False,
        defaults=_UNTIED,
    ),
    "bloom": Family(
        names=_NEOX_NAMES,
        gated=False,
        norm=2,
        **_biased(True),
        embedding_norm=True,
        defaults={**_TIED, "max_position_embeddings": 2048},
    ),
    "bert": _BERT,
    "roberta": replace(_BERT, reserved_positions=2),
    "xlm-roberta": replace(_BERT, reserved_positions=2),
    "camembert": replace(_BERT, reserved_positions=2),
    "longformer": replace(_BERT, reserved_positions=2, exact=False),
    "big_bird": replace(_BERT, exact=False),
    "deberta": replace(_BERT, pooler=False, exact=False),
    "mpnet": replace(
        _BERT,
        names=_called("q k v o up down", "q k v o dense dense"),
        reserved_positions=2,
        defaults={**_BERT.defaults, "type_vocab_size": 0, "relative_attention_num_buckets": 32},
    ),
    "roformer": replace(_BERT, pooler=False, positions=None, exact=False),
    "nomic_bert": Family(
        kind="encoder",
        norm=2,
        final_norm=False,
        embedding_norm=True,
        defaults={**_TIED, "type_vocab_size": 2},
    ),
    "eurobert": Family(kind="encoder", exact=False, defaults=_TIED),
    "electra": replace(_BERT, pooler=False, defaults={**_BERT.defaults, "embedding_size": 128}),
    "distilbert": replace(
        _BERT,
        names=_called("q k v o up down", "q_lin k_lin v_lin out_lin lin1 lin2"),
        pooler=False,
        defaults={**_BERT.defaults, "type_vocab_size": 0},
    ),
    "deberta-v2": replace(
        _BERT,
        names=_called("q k v o up down", "query_proj key_proj value_proj dense dense dense"),
        pooler=False,
        defaults={
            **_BERT.defaults,
            "type_vocab_size": 0,
            "position_biased_input": True,
            "max_relative_positions": -1,
        },
    ),
    "modernbert": Family(
        names=_called("qkv o gate_up down", "Wqkv Wo Wi Wo"),
        kind="encoder",
        **_NAMED_BIASES,
        embedding_norm=True,
        defaults={**_TIED, "max_position_embeddings": 8192, "intermediate_size": 1152},
    ),
    "t5": Family(
        names=_called("q k v o gate up down", "q k v o wi_0 wi_1 wo"),
        kind="encoder-decoder",
        gated=False,
        defaults={**_TIED, "max_position_embeddings": 512, "vocab_size": 32128},
    ),
    # Of these only names and norms are known.
    "gemma3": Family(norms=4, qk_norm="head", exact=False),
    "exaone4": Family(qk_norm="head", exact=False),
    "hunyuan_v1_dense": Family(qk_norm="head", exact=False),
    "cohere2": Family(norms=1, exact=False),
    "chatglm": Family(names=_NEOX_NAMES, exact=False),
    "baichuan": Family(names={**LLAMA_NAMES, "qkv": "W_pack"}, exact=False),
    # litgpt's own Llama, in which queries, keys and values are slices of one projection
    "litgpt": Family(names={**LLAMA_NAMES, "qkv": "qkv"}, exact=False),
}


def family_like(model_type: str, kind: Kind, gated: bool) -> Family:
    """The family of a model type, or the nearest one for an unknown type."""
    nearest = "bert" if kind == "encoder" else "llama" if gated else "gpt_neox"
    return FAMILIES.get(model_type) or FAMILIES[nearest]


def layer_names(*roles: Role) -> frozenset[str]:
    """The names of layers with these roles, over all families."""
    known = (family.names.get(role) for family in FAMILIES.values() for role in roles)
    return frozenset(name for name in known if name is not None)


HYBRIDS = frozenset({
    "bamba", "falcon_h1", "granitemoehybrid", "jamba", "kimi_linear", "lfm2", "lfm2_moe",
    "minimax", "nemotron_h", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text",
    "qwen3_next", "recurrent_gemma", "zamba", "zamba2",
})  # fmt: skip
"""Some of their layers are attention, others state spaces, recurrences or convolutions."""

WITHOUT_ATTENTION = frozenset({"falcon_mamba", "mamba", "mamba2", "rwkv", "xlstm"})
"""Not transformers: no family here describes them."""
