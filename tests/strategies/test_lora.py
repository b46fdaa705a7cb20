"""LoRA on decoders and encoders, fused projections and Conv1D included."""

from types import SimpleNamespace

import pytest
import torch

from sweeper.strategies.lora import LoRA
from sweeper.strategies.strategy import Setting

R = 4
PARAMETERS = {"learning_rate": 1e-2, "r": R, "lora_alpha": 8, "target_modules": "qkvo"}


@pytest.mark.parametrize(
    ("kind", "widths"),
    [
        ("llama", 2 * (64 + 64) + 2 * (64 + 32)),
        ("qwen2", 2 * (64 + 64) + 2 * (64 + 32)),
        ("phi3", (64 + 128) + (64 + 64)),
        ("gpt2", (64 + 192) + (64 + 64)),
        ("gpt_neox", (64 + 192) + (64 + 64)),
        ("bert", 4 * (64 + 64)),
    ],
)
def test_contract(contract, kind, widths):
    contract.check("lora", kind, PARAMETERS, 2 * R * widths)


def test_contract_of_a_classifiers_decoder(contract):
    contract.check("lora", "llama", PARAMETERS, 2 * R * 448, task_type="FEATURE_EXTRACTION")


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"use_rslora": True, "lora_dropout": 0.05}, 0),
        ({"use_dora": True}, 2 * (64 + 32 + 32 + 64)),
        ({"init_lora_weights": "gaussian", "loraplus_lr_ratio": 4.0}, 0),
        ({"layerwise_lr_decay": 0.5}, 0),
    ],
)
def test_contract_of_variants(contract, changes, more):
    contract.check("lora", "llama", PARAMETERS | changes, 2 * R * 448 + more)


def test_scale_is_alpha_over_the_rank_or_its_root(tiny_base):
    for rank_stabilised, scale in ((False, 8 / R), (True, 8 / R**0.5)):
        adapted = LoRA().apply(
            tiny_base("llama"), PARAMETERS | {"use_rslora": rank_stabilised}, Setting("CAUSAL_LM")
        )
        assert adapted.get_submodule(
            "base_model.model.model.layers.0.self_attn.q_proj"
        ).scaling == {"default": scale}


def test_lora_plus_gives_b_a_higher_rate(tiny_base):
    parameters = PARAMETERS | {"loraplus_lr_ratio": 16.0}
    adapted = LoRA().apply(tiny_base("llama"), parameters, Setting("CAUSAL_LM"))
    groups = LoRA().parameter_groups(adapted, parameters)
    assert sorted(group["lr"] for group in groups) == pytest.approx([1e-2, 1.6e-1])
    fast = max(groups, key=lambda group: group["lr"])
    b = {id(w) for n, w in adapted.named_parameters() if "lora_B" in n}
    assert {id(weight) for weight in fast["params"]} == b


@pytest.mark.parametrize(
    ("init", "changes"), [("default", False), ("gaussian", False), ("pissa", True), ("olora", True)]
)
def test_initialisations_from_the_bases_weights_say_that_they_change_them(tiny_base, init, changes):
    parameters = PARAMETERS | {"init_lora_weights": init}
    assert LoRA().changes_base(parameters) is changes
    base = tiny_base("llama")
    before = base.model.layers[0].self_attn.q_proj.weight.clone()
    LoRA().remove(LoRA().apply(base, parameters, Setting("CAUSAL_LM")))
    assert torch.equal(before, base.model.layers[0].self_attn.q_proj.weight) is not changes


@pytest.mark.parametrize(
    ("precision", "base", "adapter"),
    [
        ("fp32", torch.float32, torch.float32),
        ("bf16-mixed", torch.bfloat16, torch.float32),
        ("bf16-pure", torch.bfloat16, torch.bfloat16),
    ],
)
def test_adapters_are_fp32_unless_the_precision_is_pure(tiny_base, precision, base, adapter):
    assert LoRA().base_dtype(precision) == base
    model = tiny_base("llama").to(base)
    adapted = LoRA().apply(model, PARAMETERS, Setting("CAUSAL_LM", precision))
    assert {w.dtype for w in adapted.parameters() if w.requires_grad} == {adapter}


def drawn(tiny_base, precision="fp32", **changes):
    """A model with adapters that change what it says, and two prompts."""
    base = tiny_base("llama").to(LoRA().base_dtype(precision))
    model = LoRA().apply(base, PARAMETERS | changes, Setting("CAUSAL_LM", precision)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += 0.05 * torch.randn(weight.shape)
    return model, torch.randint(3, 60, (2, 7))


@pytest.mark.parametrize("changes", [{}, {"use_dora": True}, {"use_rslora": True}])
def test_a_merged_adapter_says_the_same_and_leaves_the_base_as_it_was(tiny_base, changes):
    model, ids = drawn(tiny_base, **changes)
    layer = model.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    with torch.no_grad(), LoRA().base_output(model):
        base = model(ids).logits
    said, written = model(ids).logits, model.generate(input_ids=ids, max_new_tokens=8)
    assert not torch.allclose(said, base, atol=1e-3)
    with torch.no_grad(), LoRA().merged(model):
        assert layer.merged
        assert torch.allclose(model(ids).logits, said, atol=1e-5)
        assert torch.equal(model.generate(input_ids=ids, max_new_tokens=8), written)
    assert not layer.merged
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_merged_in_16_bits_it_is_as_far_from_32_as_it_was_and_the_base_comes_back(tiny_base):
    model, ids = drawn(tiny_base, "bf16-mixed")
    before = {name: weight.clone() for name, weight in model.named_parameters()}

    def logits(mixed):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            return model(ids).logits.float()

    apart = logits(mixed=True)
    with LoRA().merged(model):
        assert any(getattr(part, "merged", False) for part in model.modules())
        merged = logits(mixed=True)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    exact = (model.float(), logits(mixed=False))[1]
    errors = [float((found - exact).norm() / exact.norm()) for found in (apart, merged)]
    assert 0 < errors[1] < 1.5 * errors[0] < 0.05


def test_tied_or_packed_weights_and_those_without_room_for_a_copy_are_not_merged(
    tiny_base, monkeypatch
):
    packed, tied, large = (drawn(tiny_base)[0] for _ in range(3))
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    layer = packed.get_submodule(name).base_layer
    layer.weight = torch.nn.Parameter(layer.weight.to(torch.uint8), requires_grad=False)
    tied.get_base_model().lm_head.weight = tied.get_submodule(name).base_layer.weight
    for model in (packed, tied, large):
        if model is large:
            monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1000))
        with LoRA().merged(model):
            assert not any(getattr(part, "merged", False) for part in model.modules())
