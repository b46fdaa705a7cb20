"""Full fine-tuning: everything trains, and is saved as a whole model."""

import pytest
import torch

from sweeper.strategies.full import Full
from sweeper.strategies.strategy import Setting

PARAMETERS = {"learning_rate": 1e-3, "weight_decay": 0.01}


@pytest.mark.parametrize("kind", ["llama", "qwen2", "phi3", "gpt2", "gpt_neox", "bert"])
def test_everything_trains_and_survives_saving(contract, tiny_base, kind):
    base = tiny_base(kind)
    task_type = "FEATURE_EXTRACTION" if kind == "bert" else "CAUSAL_LM"
    adapted = Full().apply(base, PARAMETERS, Setting(task_type))
    assert adapted is base
    assert all(weight.requires_grad for weight in adapted.parameters())
    before = {name: weight.clone() for name, weight in adapted.named_parameters()}
    loss = contract.loss(adapted.eval())
    contract.train(adapted, Full().parameter_groups(adapted, PARAMETERS), steps=4)
    assert contract.loss(adapted) < loss
    # A key's bias shifts all scores of a query alike: its gradient is zero up to rounding.
    unchanged = {n for n, w in adapted.named_parameters() if torch.equal(before[n], w)}
    assert unchanged <= {n for n in before if "k_proj.bias" in n or "key.bias" in n}

    trained = contract.outputs(adapted)
    Full().save(adapted, contract.folder)
    loaded = Full().load(tiny_base(kind), contract.folder)
    assert contract.outputs(loaded).equal(trained)
    assert not any(weight.requires_grad for weight in loaded.parameters())

    assert Full().changes_base(PARAMETERS)
    assert Full().remove(adapted) is base
    assert not any(weight.requires_grad for weight in base.parameters())


def test_master_weights_are_fp32_unless_the_precision_is_pure():
    kept = [Full().base_dtype(p) for p in ("fp32", "bf16-mixed", "bf16-pure")]
    assert kept == [torch.float32, torch.float32, torch.bfloat16]
