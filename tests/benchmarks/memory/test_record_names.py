from __future__ import annotations

from typing import Any

import pytest

from benchmarks.memory.record_model import model_of
from benchmarks.memory.record_names import named
from sweeper.facts.models.architecture import architecture
from sweeper.facts.models.parameter_counts import count_parameters


@pytest.mark.parametrize(
    ("name", "parameters", "experts"),
    [
        ("acme/wonder-3B-chat", 3e9, None),
        ("7B", 7.24e9, None),
        ("acme-110B-A12B", 110e9, 8),
        ("acme-8x3B", 18.0e9, 2),
    ],
)
def test_a_size_in_a_name_gives_a_typical_shape(
    name: str, parameters: float, experts: int | None
) -> None:
    found = named({"model": name})
    assert found is not None
    shape = architecture(found[0])
    assert count_parameters(shape) == pytest.approx(parameters, rel=0.08)
    assert (shape.moe.experts_per_token if shape.moe else None) == experts
    assert "estimated" in found[1]


@pytest.mark.parametrize("name", ["wonder", "", "acme-5M", "v3.5"])
def test_a_name_that_says_nothing_gives_nothing(name: str) -> None:
    assert named({"model": name}) is None


QWEN: dict[str, Any] = {
    "model_type": "qwen2", "hidden_size": 1536, "num_hidden_layers": 28, "vocab_size": 151936,
    "num_attention_heads": 12, "num_key_value_heads": 2, "intermediate_size": 8960,
}  # fmt: skip


@pytest.mark.parametrize(
    "record",
    [
        {"config": QWEN},
        {"model_config": QWEN},
        QWEN,
        {"config": {"model_type": "qwen2_vl", "text_config": QWEN}},
    ],
    ids=["nested", "otherwise named", "beside the fields", "of a vision-language model"],
)
def test_a_configuration_in_the_record_decides(record: dict[str, Any]) -> None:
    facts, assumed = model_of(record | {"model": "acme/wonder-3B"})
    assert (facts.hidden_size, facts.layers, facts.key_value_heads) == (1536, 28, 2)
    assert assumed == ("shape from the configuration in the record",)


def test_a_broken_configuration_leaves_the_name() -> None:
    facts, _ = model_of({"config": {"hidden_size": "wide"}, "model": "Llama-2-13B"})
    assert facts.hidden_size == 5120


def test_a_stated_shape_wins_over_the_name_unless_it_leaves_parts_out() -> None:
    other, _ = model_of({"model": "Llama-2-7B", "hidden": 2048, "layers": 16})
    assert other.hidden_size == 2048
    sparse = {"model": "Qwen3-30B-A3B", "hidden": 2048, "layers": 48, "n_params": 30_532_122_624}
    facts, _ = model_of(sparse)
    assert facts.moe is not None
    assert facts.moe.experts == 128
    latent, _ = model_of({"model": "DeepSeek-V2-Lite"})
    assert latent.mla is not None


def test_another_size_than_the_name_has_is_not_taken_from_it() -> None:
    facts, assumed = model_of({"model": "Llama-2-7B", "n_params": 1_000_000_000})
    assert facts.parameters == 1_000_000_000
    assert "shape estimated from the number of parameters" in assumed


def test_layers_that_are_no_attention_are_said() -> None:
    _, assumed = model_of({"model": "state-spaces/mamba-2.8b"})
    assert "estimated as if they were" in assumed[-1]


def test_stated_experts_count() -> None:
    facts, _ = model_of(
        {"hidden": 1024, "layers": 8, "intermediate": 4096, "experts": 16, "experts_per_token": 4,
         "moe_intermediate": 512}
    )  # fmt: skip
    assert facts.moe is not None
    assert (facts.moe.experts, facts.moe.experts_per_token) == (16, 4)
    assert facts.moe.intermediate_size == 512
