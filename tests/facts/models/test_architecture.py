"""Shapes and counts from a config alone: synonyms, defaults, experts, and what is not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.errors import ModelError
from sweeper.facts.models import catalogue
from sweeper.facts.models.architecture import architecture
from sweeper.facts.models.linear_layers import HYBRIDS, WITHOUT_ATTENTION, families, parameters_of

LLAMA = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
}


# Embeddings narrower than the layers, and attention with a gate.
ROUGHLY_COUNTED = {
    "google/electra-small-discriminator": 0.28,
    "facebook/opt-350m": 0.07,
    "Qwen/Qwen3.5-9B": 0.09,
}


@pytest.mark.parametrize("model_id", catalogue.entries())
def test_the_shape_of_a_known_model_gives_about_its_count(model_id):
    entry = catalogue.entries()[model_id]
    shape = architecture(entry.config)
    assert entry.source
    tolerance = ROUGHLY_COUNTED.get(model_id, 0.02)
    assert parameters_of(shape) == pytest.approx(entry.parameters, rel=tolerance)
    assert (entry.peak_learning_rate is None) == (entry.peak_learning_rate_source is None)


def test_older_names_of_the_same_fields_are_understood():
    old = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100}
    new = {
        "model_type": "gpt2",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
    }
    assert parameters_of(architecture(old)) == parameters_of(architecture(new))


def test_a_missing_field_means_what_transformers_takes_it_to_mean():
    shape = architecture(LLAMA)
    assert (shape.key_value_heads, shape.head_dim, shape.tied_embeddings) == (4, 16, False)
    assert (shape.dtype, shape.gated_mlp, shape.kind) == ("float32", True, "decoder")
    gemma = architecture({**LLAMA, "model_type": "gemma"})
    assert (gemma.head_dim, gemma.tied_embeddings) == (256, True)
    assert architecture({**LLAMA, "torch_dtype": "bfloat16"}).dtype == "bfloat16"


def test_two_rows_of_robertas_position_table_are_not_context():
    config = catalogue.entries()["FacebookAI/roberta-base"].config
    assert config["max_position_embeddings"] == 514
    assert architecture(config).context_length == 512


def test_sparse_layers_are_counted():
    qwen = {
        **LLAMA,
        "model_type": "qwen3_moe",
        "num_hidden_layers": 6,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
    }
    assert architecture({**qwen, "decoder_sparse_step": 2}).moe.layers == 3
    assert architecture({**qwen, "mlp_only_layers": [0, 1]}).moe.layers == 4
    lite = architecture(catalogue.entries()["deepseek-ai/DeepSeek-V2-Lite"].config)
    assert lite.moe.layers == 26
    assert lite.moe.shared_intermediate_size == 2 * 1408
    assert lite.mla.q_lora_rank is None
    assert lite.mla.kv_lora_rank == 512


def test_llama_4_has_dense_layers_beside_layers_with_experts():
    maverick = architecture(catalogue.entries()["meta-llama/Llama-4-Maverick-17B-128E"].config)
    assert (maverick.moe.layers, maverick.layers) == (24, 48)
    assert (maverick.intermediate_size, maverick.moe.intermediate_size) == (16384, 8192)
    assert maverick.moe.shared_intermediate_size == 8192


def test_a_dense_variant_of_a_sparse_hybrid_is_a_plain_decoder():
    granite = {
        **LLAMA,
        "model_type": "granitemoehybrid",
        "num_local_experts": 0,
        "shared_intermediate_size": 320,
        "layer_types": ["attention", "attention"],
        "tie_word_embeddings": True,
    }
    shape = architecture(granite)
    assert (shape.moe, shape.intermediate_size, shape.attention_only) == (None, 320, True)
    assert not architecture({**granite, "layer_types": ["mamba", "attention"]}).attention_only


def test_an_unknown_family_is_estimated_as_a_modern_decoder():
    shape = architecture({**LLAMA, "model_type": "llama_of_tomorrow"})
    assert parameters_of(shape) == parameters_of(architecture(LLAMA))
    masked = architecture({**LLAMA, "model_type": "new", "architectures": ["NewForMaskedLM"]})
    assert masked.kind == "encoder"


def test_a_multimodal_model_has_the_shape_of_its_language_part():
    config = {"model_type": "mistral3", "text_config": LLAMA | {"model_type": "mistral"}}
    assert architecture(config).model_type == "mistral"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "config.json does not say hidden_size"),
        ({**LLAMA, "vocab_size": None}, "does not say vocab_size"),
        ({**LLAMA, "num_hidden_layers": "many"}, "num_hidden_layers is 'many'"),
    ],
)
def test_a_config_without_a_shape_is_refused(config, said):
    with pytest.raises(ModelError, match=said) as error:
        architecture(config, "here/config.json")
    assert "here/config.json" in str(error.value)


@pytest.mark.parametrize("model_type", sorted(WITHOUT_ATTENTION))
def test_models_without_attention_are_refused(model_type):
    with pytest.raises(ModelError, match=model_type) as error:
        architecture({**LLAMA, "model_type": model_type}, "here/config.json")
    assert "Choose a transformer" in str(error.value)


@pytest.mark.parametrize("model_type", sorted(HYBRIDS))
def test_hybrids_are_marked(model_type):
    assert not architecture({**LLAMA, "model_type": model_type}).attention_only


def test_unknown_encoder_decoders_are_refused_and_t5_is_known():
    config = {**LLAMA, "model_type": "bart", "is_encoder_decoder": True}
    with pytest.raises(ModelError, match="bart"):
        architecture(config)
    assert architecture({**LLAMA, "model_type": "t5"}).kind == "encoder-decoder"


@pytest.mark.parametrize("model_type", ["longformer", "eurobert", "deberta"])
def test_encoders_are_recognised(model_type):
    assert architecture({**LLAMA, "model_type": model_type}).kind == "encoder"


@pytest.mark.parametrize(
    ("size", "like", "tolerance"),
    [("7B", "mistralai/Mistral-7B-v0.1", 0.1), ("135M", "HuggingFaceTB/SmolLM2-135M", 0.01)],
)
def test_a_bare_size_is_the_shape_of_a_typical_model(size, like, tolerance):
    parameters = catalogue.parse_size(size)
    model_id, config = catalogue.typical(parameters)
    assert model_id == like
    assert parameters_of(architecture(config)) == pytest.approx(parameters, rel=tolerance)


@pytest.mark.parametrize("size", ["60M", "600M", "6B", "20B", "100B", "1T"])
def test_any_size_has_a_shape_of_about_that_size(size):
    parameters = catalogue.parse_size(size)
    _, config = catalogue.typical(parameters)
    assert parameters_of(architecture(config)) == pytest.approx(parameters, rel=0.3)


def test_a_size_below_any_language_model_is_refused():
    with pytest.raises(ModelError):
        catalogue.typical(20_000_000)


@pytest.mark.parametrize("text", ["7", "B", "7G", "7B-chat", "-7B", "seven"])
def test_other_text_is_not_a_size(text):
    assert catalogue.parse_size(text) is None


FIELDS = sorted(
    {name for family in families().values() for name in family.defaults}
    | {*LLAMA, "text_config", "num_experts", "kv_lora_rank", "mlp_only_layers", "q_lora_rank"}
    | {"num_kv_heads", "dtype"}
)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 9)
    | st.floats()
    | st.sampled_from(["", "x", "p2c|c2p"])
    | st.lists(st.integers(0, 3) | st.lists(st.integers(), max_size=1), max_size=3)
)


@given(st.sampled_from(sorted(families())), st.dictionaries(st.sampled_from(FIELDS), VALUES))
def test_any_configuration_is_counted_or_refused(model_type, changed):
    config = {**LLAMA, **changed, "model_type": model_type}
    try:
        shape = architecture(config)
        parameters = parameters_of(shape)
    except ModelError:
        return
    assert parameters > 0
