"""Real steps of tiny models: what a probe measures, and what it says where it cannot."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bitsandbytes.nn import Linear4bit  # noqa: E402
from transformers import BertConfig, LlamaConfig, PretrainedConfig  # noqa: E402

from sweeper.errors import UsageError  # noqa: E402
from sweeper.facts.models.architecture import architecture  # noqa: E402
from sweeper.facts.models.linear_layers import parameters_of  # noqa: E402
from sweeper.facts.record import ModelFacts  # noqa: E402
from sweeper.hyperparameters import TARGETS  # noqa: E402
from sweeper.memory.estimate import estimate, trial_gib  # noqa: E402
from sweeper.memory.setup import (  # noqa: E402
    Probed,
    ProbeRequest,
    Setup,
)
from sweeper.memory.states import trainable_parameters  # noqa: E402
from sweeper.plans import Precision, frozen_dtype  # noqa: E402
from sweeper.training.probes import training_step as probing  # noqa: E402
from sweeper.training.probes.training_step import probe, random_model  # noqa: E402

BERT = BertConfig(
    vocab_size=30_000,
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=256,
    max_position_embeddings=64,
)
LLAMA = LlamaConfig(
    vocab_size=2_000,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    intermediate_size=128,
    tie_word_embeddings=True,
)
SETUP = Setup(
    strategy="full", micro_batch=4, sequence_length=32, precision="fp32", classes=3, device="cpu"
)
SPOKEN = SETUP.replace(strategy="lora", classes=0, r=4)


def facts(config: PretrainedConfig) -> ModelFacts:
    """Of a model of this configuration, as if it lay in a folder."""
    shape = architecture(config.to_dict())
    count = parameters_of(shape)
    return ModelFacts(
        id="x", source="local", parameters=count, parameters_exact=False, **dict(shape)
    )


@pytest.mark.parametrize("precision", ["fp16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("strategy", ["lora", "qlora"])
def test_a_probe_holds_the_base_as_a_trial_of_that_precision_does(
    strategy: str, precision: Precision
) -> None:
    half = getattr(torch, frozen_dtype(precision))
    packed = "nf4-dq" if strategy == "qlora" else None
    setup = SPOKEN.replace(strategy=strategy, precision=precision, quantization=packed)
    cpu = torch.device("cpu")
    model = random_model(copy.deepcopy(LLAMA), facts(LLAMA), setup, cpu)
    frozen = {w.dtype for w in model.parameters() if not w.requires_grad}
    assert frozen - {torch.uint8} == {half}
    layers = [one for one in model.modules() if isinstance(one, Linear4bit)]
    assert {layer.compute_dtype for layer in layers} == ({half} if packed else set())


@pytest.mark.parametrize(
    ("config", "setup"),
    [
        (BERT, SETUP),
        (BERT, SETUP.replace(strategy="lora", padded=True, precision="bf16-mixed")),
        (LLAMA, SPOKEN.replace(gradient_checkpointing=True, gradient_accumulation_steps=8)),
        (LLAMA, SPOKEN.replace(strategy="qlora", quantization="nf4-dq")),
        (LLAMA, SPOKEN.replace(strategy="prefix")),
        (LLAMA, SPOKEN.replace(strategy="full", optimizer="adafactor")),
    ],
    ids=lambda value: getattr(value, "strategy", None),
)
def test_real_steps_are_measured(config: PretrainedConfig, setup: Setup) -> None:
    model = facts(config)
    found = probe(model, setup, 16, copy.deepcopy(config))
    assert found.seconds_per_step
    assert found.reserved_gib is None
    assert 0 < found.free_gib <= found.total_gib
    # Such small models leave little but what malloc and thread pools take.
    assert found.peak_gib == pytest.approx(trial_gib(estimate(model, setup, 0.0)), abs=0.2)


def test_what_trains_is_what_the_strategy_says() -> None:
    cpu = torch.device("cpu")
    four = SPOKEN.replace(strategy="qlora", quantization="nf4", base_dtype="bfloat16")
    for setup in (SPOKEN, SPOKEN.replace(strategy="full"), four):
        built = random_model(copy.deepcopy(LLAMA), facts(LLAMA), setup, cpu)
        trained = sum(weight.numel() for weight in built.parameters() if weight.requires_grad)
        expected = trainable_parameters(facts(LLAMA), setup)
        assert trained == pytest.approx(expected, rel=0.01)  # norms are not counted
        packed = [m for m in built.modules() if isinstance(m, Linear4bit)]
        assert len(packed) == (2 * 7 if setup is four else 0)
    assert all(layer.weight.dtype == torch.uint8 for layer in packed)


def test_attention_alone_is_adapted_where_other_layers_have_the_same_name() -> None:
    # BERT calls the last layer of both sublayers, and the first of the second one, dense.
    targets = TARGETS["qkvo"]
    setup = SETUP.replace(strategy="lora", r=4, target_modules=targets)
    built = random_model(copy.deepcopy(BERT), facts(BERT), setup, torch.device("cpu"))
    trained = sum(weight.numel() for weight in built.parameters() if weight.requires_grad)
    assert trained == trainable_parameters(facts(BERT), setup)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "head"}, "takes no steps"),
        ({"quantization": "int8"}, "int8 cannot be probed"),
        ({"gpus": 2}, "one device"),
    ],
)
def test_what_cannot_be_probed_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        probe(facts(BERT), SETUP.replace(**changes), 16, BERT)


def test_running_out_of_memory_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(probing, "random_model", fails)
    found = probe(facts(BERT), SETUP, 16, BERT)
    assert (found.out_of_memory, found.peak_gib) == (True, None)

    def breaks(*_: Any) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    monkeypatch.setattr(probing, "random_model", breaks)
    with pytest.raises(RuntimeError, match="shapes"):
        probe(facts(BERT), SETUP, 16, BERT)


def test_a_request_is_answered_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "stay_within_memory", lambda: None)  # it would bind this process
    monkeypatch.setattr(probing, "config_of", lambda _: copy.deepcopy(BERT))

    def ask(setup: Setup) -> Probed:
        return probing.answer(ProbeRequest(model=facts(BERT), setup=setup, mean_length=8))

    assert ask(SETUP).peak_gib
    with pytest.raises(UsageError):
        ask(SETUP.replace(strategy="head"))
