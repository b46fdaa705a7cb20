"""What the plan says about trained weights is what the strategies train."""

from __future__ import annotations

from typing import Any

import pytest

from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup
from sweeper.memory.states import trainable_parameters
from sweeper.strategies.base import Setting
from sweeper.strategies.discovery import strategy


def facts(kind: str, base: Any) -> ModelFacts:
    config = base.config
    heads = config.num_attention_heads
    return ModelFacts(
        id=kind,
        source="local",
        model_type=config.model_type,
        kind="encoder" if kind == "bert" else "decoder",
        parameters=sum(weight.numel() for weight in base.parameters()),
        parameters_exact=True,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        attention_heads=heads,
        key_value_heads=getattr(config, "num_key_value_heads", heads),
        head_dim=config.hidden_size // heads,
        intermediate_size=getattr(config, "intermediate_size", 4 * config.hidden_size),
        vocabulary_size=config.vocab_size,
        context_length=config.max_position_embeddings,
        tied_embeddings=bool(config.tie_word_embeddings),
        gated_mlp=kind in ("llama", "qwen2", "phi3"),
    )


SETTINGS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("full", {}, {}),
    ("lora", {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}, {"r": 8}),
    ("adapter", {"reduction_factor": 8, "placement": "houlsby"}, {"placement": "houlsby"}),
    ("adapter", {"reduction_factor": 16, "placement": "pfeiffer"}, {"placement": "pfeiffer"}),
    ("prefix", {"num_virtual_tokens": 6}, {}),
    (
        "prefix",
        {"num_virtual_tokens": 6, "prefix_projection": True, "encoder_hidden_size": 16},
        {},
    ),
    ("ptuning", {"num_virtual_tokens": 6, "encoder_hidden_size": 16}, {}),
]
CASES = [
    (kind, *setting)
    for kind in ("llama", "gpt2", "bert", "gpt_neox", "phi3")
    for setting in SETTINGS
    if (kind, setting[0]) != ("bert", "prefix")
]
_OWN_NAMES = {"lora_alpha", "placement", "target_modules"}


@pytest.mark.parametrize(("kind", "name", "parameters", "more"), CASES)
def test_planned_trainable_parameters_are_the_trained_ones(tiny_base, kind, name, parameters, more):
    base = tiny_base(kind)
    planned = {key: value for key, value in parameters.items() if key not in _OWN_NAMES} | more
    expected = trainable_parameters(facts(kind, base), Setup(strategy=name, **planned))
    setting = Setting("FEATURE_EXTRACTION" if kind == "bert" else "CAUSAL_LM")
    adapted = strategy(name).apply(base, {"learning_rate": 1e-3} | parameters, setting)
    assert sum(w.numel() for w in adapted.parameters() if w.requires_grad) == expected
