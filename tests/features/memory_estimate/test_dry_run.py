"""The formula against the real model classes: small ones of many families, one step each."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from transformers import PretrainedConfig  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

from sweeper.errors import ModelError, UsageError  # noqa: E402
from sweeper.facts.models.architecture import architecture  # noqa: E402
from sweeper.facts.record import ModelFacts  # noqa: E402
from sweeper.features.memory_estimate._dry_run import (  # noqa: E402
    BLOCK_BYTES,
    StorageTracker,
    follow,
    meta,
)  # fmt: skip
from sweeper.memory.estimate import worst_phase  # noqa: E402
from sweeper.memory.setup import Setup  # noqa: E402
from sweeper.memory.states import trainable_parameters  # noqa: E402
from sweeper.training.probes.bare_models import base_of, config_of  # noqa: E402
from sweeper.units import GIB  # noqa: E402

pytestmark = pytest.mark.slow

_WIDE = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 4000}
_GROUPED = {**_WIDE, "num_key_value_heads": 2, "intermediate_size": 1536}
_PLAIN = {**_WIDE, "num_key_value_heads": 8, "intermediate_size": 1536}
_ENCODER = {**_WIDE, "intermediate_size": 2048, "max_position_embeddings": 1026}

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": _PLAIN,
    "mistral": _GROUPED,
    "qwen3": {**_GROUPED, "head_dim": 64, "tie_word_embeddings": True},
    "gemma2": {**_GROUPED, "head_dim": 64, "vocab_size": 16000},
    "gemma3_text": {**_GROUPED, "head_dim": 64},
    "phi3": {**_PLAIN, "pad_token_id": 0},
    "olmo2": _PLAIN,
    "cohere": _PLAIN,
    "gpt_neox": {**_WIDE, "intermediate_size": 2048},
    "gpt2": {"n_embd": 512, "n_layer": 4, "n_head": 8, "vocab_size": 4000, "n_positions": 1024},
    "opt": {**_WIDE, "ffn_dim": 2048, "word_embed_proj_dim": 512},
    "falcon": {**_WIDE, "multi_query": True, "parallel_attn": True, "alibi": False, "bias": False},
    "mixtral": {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "modernbert": {**_WIDE, "intermediate_size": 768, "pad_token_id": 0},
}
SETUPS = {
    "full-pure": Setup(strategy="full", precision="bf16-pure"),
    "full-mixed": Setup(strategy="full"),
    "lora": Setup(strategy="lora"),
    "checkpointing": Setup(strategy="lora", gradient_checkpointing=True),
}
#: How far the formula may be from the dry run, either way.
TOLERANCE = {"checkpointing": 0.12}
DEFAULT_TOLERANCE = 0.04


def _facts(config: PretrainedConfig) -> ModelFacts:
    shape = architecture(config.to_dict())
    base = base_of(config, Setup(strategy="full", classes=7 if shape.kind == "encoder" else 0))
    count = sum(weight.numel() for weight in base.parameters())
    return ModelFacts(
        id="x", source="local", parameters=count, parameters_exact=True, **dict(shape)
    )


def _agreement(family: str, setup: Setup) -> float:
    config = CONFIG_MAPPING[family](**FAMILIES[family])
    facts = _facts(config)
    classes = 7 if facts.kind == "encoder" else 0
    setup = setup.replace(micro_batch=4, sequence_length=512, classes=classes)
    followed = follow(facts, setup, config)
    parts = worst_phase(facts, setup).parts
    formula = sum(size for name, size in parts.items() if name != "library workspace")
    assert trainable_parameters(facts, setup) == pytest.approx(
        followed.trainable_parameters, rel=0.02
    )
    return formula / GIB / followed.peak_gib


CASES = [
    *((family, kind) for family in FAMILIES for kind in ("full-mixed", "lora")),
    *((family, "full-pure") for family in ("llama", "gemma3_text", "cohere", "modernbert")),
    *((family, "checkpointing") for family in ("mistral", "gpt2", "gpt_neox", "bert")),
]


@pytest.mark.parametrize(("family", "kind"), CASES)
def test_formula_and_dry_run_agree(family: str, kind: str) -> None:
    agreement = _agreement(family, SETUPS[kind])
    assert agreement == pytest.approx(1, abs=TOLERANCE.get(kind, DEFAULT_TOLERANCE))


@pytest.mark.parametrize(
    "setup",
    [
        Setup(strategy="qlora", quantization="nf4", gradient_checkpointing=True),
        Setup(strategy="ptuning"),
        Setup(strategy="prefix"),
        Setup(strategy="adapter"),
        Setup(strategy="lora", use_dora=True),
        Setup(strategy="lora", attention="eager"),
        Setup(strategy="lora", precision="fp32", lora_dropout=0.05, device="cpu"),
        Setup(strategy="full", optimizer="adamw_torch"),
        Setup(strategy="full", optimizer="adafactor"),
        Setup(strategy="full", optimizer="adamw_bnb_8bit"),
        Setup(strategy="full", precision="fp16-mixed"),
    ],
    ids=[
        "qlora",
        "ptuning",
        "prefix",
        "adapter",
        "dora",
        "eager",
        "cpu",
        "foreach",
        "adafactor",
        "8-bit",
        "fp16",
    ],
)
def test_they_agree_for_every_strategy(setup: Setup) -> None:
    assert _agreement("mistral", setup) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    ("family", "strategy", "most"),
    [("bert", "lora", 1026), ("roberta", "ptuning", 1004), ("gpt2", "prefix", 1004)],
)
def test_more_positions_than_were_learnt_are_refused(family: str, strategy: str, most: int) -> None:
    config = CONFIG_MAPPING[family](**FAMILIES[family])
    facts = _facts(config)
    setup = Setup(strategy=strategy, classes=7 if facts.kind == "encoder" else 0)
    assert follow(facts, setup.replace(sequence_length=most), config).peak_gib > 0
    with pytest.raises(UsageError) as caught:
        follow(facts, setup.replace(sequence_length=most + 1), config)
    assert (caught.value.code, caught.value.exit_code) == ("longer-than-context", 2)


def test_rotary_positions_have_no_end() -> None:
    config = CONFIG_MAPPING["mistral"](**FAMILIES["mistral"], max_position_embeddings=64)
    assert follow(_facts(config), Setup(strategy="lora", sequence_length=128), config).peak_gib > 0


def test_views_count_once_and_freed_storages_not_at_all() -> None:
    tracker = StorageTracker("x")
    with tracker:
        a = meta((10, 10), torch.float32)
        view = a.view(100)
        assert tracker.total == BLOCK_BYTES
        b = a + a
        tracker.relabel(b, "y")
        assert tracker.live == {"x": BLOCK_BYTES, "y": BLOCK_BYTES}
        del b
    del a, view
    assert tracker.total == 0
    assert tracker.peak_bytes == 2 * BLOCK_BYTES


def test_the_catalogue_gives_the_configuration() -> None:
    facts = _facts(CONFIG_MAPPING["llama"](**_PLAIN))
    named = facts.model_copy(update={"id": "HuggingFaceTB/SmolLM2-135M", "source": "catalogue"})
    assert config_of(named).num_hidden_layers == 30


def test_a_model_without_a_configuration_is_refused() -> None:
    facts = _facts(CONFIG_MAPPING["llama"](**_PLAIN))
    with pytest.raises(ModelError):
        config_of(facts)
