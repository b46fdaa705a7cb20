from __future__ import annotations

import logging

import pytest
import torch
from bitsandbytes.backends.cpu import ops
from bitsandbytes.nn import Linear4bit

from sweeper.errors import UsageError
from sweeper.strategies.qlora import QLoRA
from sweeper.strategies.strategy import Setting

QV = {"learning_rate": 1e-2, "r": 4, "lora_alpha": 8, "target_modules": "qv"}


@pytest.mark.parametrize(
    ("kind", "widths"),
    [
        ("llama", (64 + 64) + (64 + 32)),
        ("qwen2", (64 + 64) + (64 + 32)),
        ("phi3", 64 + 128),
        ("gpt2", 64 + 192),
        ("gpt_neox", 64 + 192),
        ("bert", (64 + 64) + (64 + 64)),
    ],
)
def test_contract(contract, kind, widths):
    contract.check("qlora", kind, QV, 2 * 4 * widths)


def test_contract_under_checkpointing(contract):
    contract.check("qlora", "llama", QV, 2 * 4 * 224, gradient_checkpointing=True)


def test_blocks_are_quantised_and_the_rest_stays_in_bf16(contract):
    base = contract.base("qlora", "llama", "CAUSAL_LM")
    quantised = {name for name, module in base.named_modules() if isinstance(module, Linear4bit)}
    assert len(quantised) == 2 * 7
    assert all(".layers." in name for name in quantised)
    state = base.model.layers[0].mlp.down_proj.weight.quant_state
    assert state.quant_type == "nf4"
    assert state.nested  # double quantisation
    others = [w for n, w in base.named_parameters() if n.rpartition(".")[0] not in quantised]
    assert {weight.dtype for weight in others} == {torch.bfloat16}


@pytest.mark.parametrize("precision", ["fp32", "bf16-mixed", "bf16-pure"])
def test_base_is_bf16_whatever_the_precision(precision):
    assert QLoRA().base_dtype(precision) == torch.bfloat16
    assert QLoRA().quantization_config({}).bnb_4bit_compute_dtype == torch.bfloat16
    half = QLoRA().base_dtype("fp16-mixed")
    assert half == torch.float16
    assert QLoRA().quantization_config({}, dtype=half).bnb_4bit_compute_dtype == half


def test_gradients_survive_an_evaluation(contract):
    """Where bitsandbytes knows AVX512-BF16, it repacks weights in evaluation mode."""
    base = contract.base("qlora", "llama", "CAUSAL_LM")
    model = QLoRA().apply(base, QV, Setting("CAUSAL_LM"))
    gradients = []
    for _ in range(2):
        model.train()
        model.zero_grad()
        model(**contract.batch, labels=contract.batch["input_ids"]).loss.backward()
        gradients.append([w.grad.clone() for w in model.parameters() if w.requires_grad])
        model.eval()
        contract.outputs(model)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_initialisation_from_the_bases_weights_is_refused(contract):
    base = contract.base("qlora", "llama", "CAUSAL_LM")
    with pytest.raises(UsageError, match="'pissa'"):
        QLoRA().apply(base, QV | {"init_lora_weights": "pissa"}, Setting("CAUSAL_LM"))


def test_a_log_does_not_begin_with_a_package_of_kernels_that_is_missing():
    assert ops.logger.name == ops.__name__
    assert not ops.logger.isEnabledFor(logging.WARNING)
