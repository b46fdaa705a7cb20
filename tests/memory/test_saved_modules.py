"""Modules that train whole and layers by pattern, counted from a model's facts."""

from __future__ import annotations

import pytest

from sweeper.facts.models.linear_layers import missing_targets, saved_parameters, targeted
from sweeper.facts.record import ModelFacts
from sweeper.memory.estimate import phases
from sweeper.memory.setup import Setup
from sweeper.memory.states import trainable_parameters

LLAMA = ModelFacts(
    id="x",
    source="local",
    model_type="llama",
    kind="decoder",
    parameters=134_515_008,
    parameters_exact=True,
    layers=30,
    hidden_size=576,
    attention_heads=9,
    key_value_heads=3,
    head_dim=64,
    intermediate_size=1536,
    vocabulary_size=49152,
    context_length=8192,
    tied_embeddings=True,
    gated_mlp=True,
)
TABLE = 49152 * 576
SETUP = Setup(strategy="lora", r=16, target_modules=("q_proj", "v_proj"), sequence_length=64)


@pytest.mark.parametrize(
    ("names", "tied", "count"),
    [
        (("embed_tokens",), True, TABLE),
        (("embed_tokens", "lm_head"), True, TABLE),
        (("model.embed_tokens", "lm_head"), False, 2 * TABLE),
        (("down_proj",), True, 30 * 576 * 1536),
        (("something",), True, TABLE),
        ((), True, 0),
    ],
)
def test_every_saved_module_counts_once(names: tuple[str, ...], tied: bool, count: int) -> None:
    model = LLAMA.model_copy(update={"tied_embeddings": tied})
    assert saved_parameters(model, names, new_head=False) == count


def test_a_saved_module_takes_memory_as_full_fine_tuning_does() -> None:
    saved = SETUP.replace(modules_to_save=("embed_tokens",), optimizer="adamw_torch_fused")
    plain = SETUP.replace(optimizer="adamw_torch_fused")
    assert trainable_parameters(LLAMA, saved) - trainable_parameters(LLAMA, plain) == TABLE
    last = (
        next(p for p in phases(LLAMA, one) if p.name == "optimizer step") for one in (saved, plain)
    )
    more, less = (one.total for one in last)
    assert more - less == 16 * TABLE  # float32: weight, gradient and two moments


@pytest.mark.parametrize(
    ("pattern", "counts"),
    [
        (r".*\.(1|2)\.self_attn\.[qv]_proj", {"q_proj": 2, "v_proj": 2}),
        (r"model\.layers\.[0-9]\.mlp\.down_proj", {"down_proj": 10}),
        (r"odd\.place\.\d+\.o_proj", {"o_proj": 30}),
        (r".*query", {}),
    ],
)
def test_a_pattern_counts_what_it_matches(pattern: str, counts: dict[str, int]) -> None:
    found = targeted(LLAMA, pattern)
    assert {one.name: one.count for one in found} == counts
    assert missing_targets(LLAMA, pattern) == (() if counts else (pattern,))


def test_what_a_model_of_no_known_family_has_is_not_refused() -> None:
    other = LLAMA.model_copy(update={"model_type": "brand_new"})
    assert missing_targets(other, "mystery_proj") == ()
    assert targeted(other, ("mystery_proj",)) == targeted(other, "all-linear")
    assert len(targeted(other, ".*mystery")) == len(targeted(other, "all-linear"))
