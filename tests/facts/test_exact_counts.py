"""Counts from the shape alone equal those of the real model classes, family by family."""

import pytest

from sweeper.facts.models.architecture import architecture
from sweeper.facts.models.parameter_counts import count_parameters

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = SMALL | {"num_key_value_heads": 2}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}
LATENT = {
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
}
DEBERTA = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
FALCON = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
GPT = {"vocab_size": 96, "n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
T5 = {
    "vocab_size": 96,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 72,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 4,
}

CONFIGS = [
    ("llama", GROUPED),
    ("llama", GROUPED | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("llama", GROUPED | {"head_dim": 12}),
    ("mistral", GROUPED),
    ("mixtral", GROUPED | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    ("qwen2", GROUPED | {"tie_word_embeddings": True}),
    ("qwen3", GROUPED | {"head_dim": 16}),
    (
        "qwen2_moe",
        GROUPED | EXPERTS | {"num_experts": 4, "shared_expert_intermediate_size": 40},
    ),
    ("qwen3_moe", GROUPED | EXPERTS | {"num_experts": 4, "mlp_only_layers": [1], "head_dim": 16}),
    ("deepseek_v2", SMALL | EXPERTS | LATENT | {"q_lora_rank": None, "n_shared_experts": 2}),
    ("deepseek_v3", SMALL | EXPERTS | LATENT | {"q_lora_rank": 20, "n_shared_experts": 1}),
    ("gemma", GROUPED | {"head_dim": 16}),
    ("gemma2", GROUPED | {"head_dim": 16}),
    ("gemma3_text", GROUPED | {"head_dim": 16}),
    ("phi", SMALL),
    ("phi3", GROUPED),
    ("smollm3", GROUPED),
    ("granite", GROUPED),
    ("olmo", GROUPED),
    ("olmo2", GROUPED),
    ("cohere", GROUPED),
    ("stablelm", GROUPED),
    ("stablelm", GROUPED | {"use_qkv_bias": True, "use_parallel_residual": True}),
    ("gpt2", GPT),
    ("gpt_neox", SMALL),
    ("opt", SMALL | {"ffn_dim": 72, "word_embed_proj_dim": 32}),
    (
        "opt",
        SMALL | {"ffn_dim": 72, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
    ),
    ("falcon", FALCON | {"bias": True}),
    ("falcon", FALCON | {"parallel_attn": False, "multi_query": False}),
    ("falcon", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    ("bloom", {"vocab_size": 96, "hidden_size": 32, "n_layer": 3, "n_head": 4}),
    ("starcoder2", GROUPED),
    ("gptj", GPT),
    ("codegen", GPT),
    ("gpt_bigcode", GPT),
    ("gpt_bigcode", GPT | {"multi_query": False}),
    ("mpt", {"vocab_size": 96, "d_model": 32, "n_layers": 3, "n_heads": 4}),
    ("nemotron", GROUPED),
    ("arcee", GROUPED),
    ("camembert", SMALL | {"type_vocab_size": 1}),
    ("bert", SMALL),
    ("roberta", SMALL | {"type_vocab_size": 1}),
    ("xlm-roberta", SMALL | {"type_vocab_size": 1}),
    ("electra", SMALL | {"embedding_size": 16}),
    ("electra", SMALL | {"embedding_size": 32}),
    ("distilbert", {"vocab_size": 96, "dim": 32, "hidden_dim": 72, "n_layers": 3, "n_heads": 4}),
    ("deberta-v2", SMALL | DEBERTA | {"share_att_key": True}),
    ("deberta-v2", SMALL | DEBERTA | {"conv_kernel_size": 3, "conv_groups": 2}),
    ("deberta-v2", SMALL | {"type_vocab_size": 2}),
    ("modernbert", SMALL),
    ("t5", T5),
    ("t5", T5 | {"feed_forward_proj": "gated-gelu"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "config"), CONFIGS)
def test_a_count_equals_that_of_the_real_model_class(model_type, config):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    shape = architecture({"model_type": model_type, **config})
    assert shape.countable
    builder = {
        "decoder": transformers.AutoModelForCausalLM,
        "encoder": transformers.AutoModel,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    }[shape.kind]
    with torch.device("meta"):
        model = builder.from_config(transformers.AutoConfig.for_model(model_type, **config))
    model.tie_weights()
    assert count_parameters(shape) == sum(p.numel() for p in model.parameters())
    assert shape.layers == (2 if model_type == "t5" else 3)
