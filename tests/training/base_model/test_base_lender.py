"""The base model comes back as it was, and a base that does not is loaded again."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from sweeper.backend import Decision
from sweeper.features.doctor._results import Result
from sweeper.training.base_model import base_lender as base_lender_module
from sweeper.training.base_model.base_lender import BaseLender, checksum, load_base


def weights(model):
    return {name: weight.clone() for name, weight in model.named_parameters()}


def equal(model, before):
    return all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


@pytest.fixture
def base_lender(model_folders):
    return BaseLender(
        model_folders["bert"], "FEATURE_EXTRACTION", torch.device("cpu"), name="some/model"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_base_is_loaded_frozen_in_the_dtype_that_was_asked_for(model_folders, kind, dtype):
    task_type = "FEATURE_EXTRACTION" if kind == "bert" else "CAUSAL_LM"
    model = load_base(model_folders[kind], task_type, dtype, torch.device("cpu"))
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not model.training
    assert not model.config.use_cache
    assert not any("pooler" in name for name, _ in model.named_parameters())


def test_trained_weights_are_restored_bit_by_bit(base_lender):
    model = base_lender.lend(torch.float32, will_change=True)
    before = weights(model)
    model.requires_grad_(True)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.5)
    base_lender.give_back(model, changed=True)
    again = base_lender.lend(torch.float32)
    assert again is model
    assert equal(again, before)
    assert not any(weight.requires_grad for weight in again.parameters())


def test_a_change_that_nobody_spoke_of_is_found_and_undone(base_lender, caplog):
    model = base_lender.lend(torch.float32)
    before = weights(model)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1e-4)
    base_lender.give_back(model)
    assert "loaded again" in caplog.text
    again = base_lender.lend(torch.float32)
    assert again is not model
    assert equal(again, before)


def test_every_weight_is_looked_at_within_a_few_returns(base_lender, caplog):
    model = base_lender.lend(torch.float32)
    with torch.no_grad():
        model.embeddings.word_embeddings.weight[3, 4] += 1e-3
    for _ in range(8):
        base_lender.give_back(model)
        if caplog.text:
            break
    assert "loaded again" in caplog.text


def test_a_base_with_something_left_in_it_is_loaded_again(base_lender):
    model = base_lender.lend(torch.float32)
    model.extra = torch.nn.Linear(2, 2)
    base_lender.give_back(model)
    assert base_lender.lend(torch.float32) is not model


def test_dtypes_are_kept_apart(base_lender):
    model, half = base_lender.lend(torch.float32), base_lender.lend(torch.bfloat16)
    assert model is not half
    assert base_lender.lend(torch.float32) is model
    base_lender.release()
    assert base_lender.lend(torch.float32) is not model


def test_an_adapter_will_name_the_base_as_the_user_did(base_lender):
    assert base_lender.lend(torch.float32).name_or_path == "some/model"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.uint8])
def test_a_checksum_differs_after_any_update(dtype):
    tensor = torch.arange(1, 101).to(dtype)
    before = checksum(tensor)
    assert checksum(tensor.clone()) == before
    tensor[17] += 1
    assert checksum(tensor) != before


@pytest.fixture
def moves(monkeypatch):
    """What is loaded, and where models are moved, by a lender that takes the CPU for a GPU."""
    found = []
    move = torch.nn.Module.to

    def load(folder, task_type, dtype, device, *others, **options):
        found.append(str(dtype))
        return load_base(folder, task_type, dtype, torch.device("cpu"), *others, **options)

    def to(self, *places, **options):
        if str(places[0]) in ("cuda", "cpu") and found and not options:
            found.append(str(places[0]))
        return move(self, "cpu")

    monkeypatch.setattr(base_lender_module, "load_base", load)
    monkeypatch.setattr(torch.nn.Module, "to", to)
    return found


@pytest.fixture
def on_gpu(model_folders):
    return BaseLender(model_folders["bert"], "FEATURE_EXTRACTION", torch.device("cuda"))


def lend_in_turn(base_lender):
    for _ in range(2):
        for dtype in (torch.bfloat16, torch.float32):
            base_lender.give_back(base_lender.lend(dtype))


def test_alternating_trials_on_a_gpu_load_each_base_once(on_gpu, moves, monkeypatch):
    lend_in_turn(on_gpu)
    loads = [what for what in moves if what.startswith("torch.")]
    assert loads == ["torch.bfloat16", "torch.float32"]
    # One leaves the GPU before the other comes to it.
    assert moves[-4:] == ["cpu", "cuda", "cpu", "cuda"]


def test_a_base_without_room_in_main_memory_is_loaded_again(on_gpu, moves, monkeypatch):
    monkeypatch.setattr(base_lender_module, "_MAX_MEMORY_SHARE", 0.0)
    lend_in_turn(on_gpu)
    assert [what for what in moves if what.startswith("torch.")] == [
        "torch.bfloat16", "torch.float32", "torch.bfloat16", "torch.float32",
    ]  # fmt: skip


CPU = torch.device("cpu")
# Where make kernels puts the packages.
KERNELS = Path(__file__).parents[3] / ".kernels"


def test_liger_kernels_have_the_loss_and_the_gradient_of_transformers(tmp_path):
    if not KERNELS.is_dir() and not (find_spec("triton") and find_spec("liger_kernel")):
        pytest.skip("triton and liger-kernel are not installed: make kernels")
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("interpreted_kernels.py"), tmp_path],
        env=os.environ | {"PYTHONPATH": str(KERNELS)},
        capture_output=True,
        text=True,
        check=True,
    )
    checked = Result.model_validate_json(done.stdout.splitlines()[-1])
    assert (checked.state, checked.detail) == ("ok", "")
    assert 0 < checked.figures["fp32_gradient_difference"] < 1e-5


@pytest.fixture
def fused(monkeypatch):
    """What liger-kernel was called with; its norms count their calls."""
    calls = SimpleNamespace(options=[], norms=0)

    def apply(model, **options):
        calls.options.append(options)
        for norm in [module for module in model.modules() if isinstance(module, LlamaRMSNorm)]:

            def forward(states, norm=norm):
                calls.norms += 1
                return torch.nn.functional.rms_norm(
                    states, states.shape[-1:], norm.weight, norm.variance_epsilon
                )

            norm.forward = forward

    module = SimpleNamespace(_apply_liger_kernel_to_instance=apply)
    monkeypatch.setitem(sys.modules, "liger_kernel", SimpleNamespace(transformers=module))
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers", module)
    return calls


def test_a_base_is_fused_once_and_says_the_same(fused, model_folders):
    ids = torch.tensor([[3, 4, 5, 6]])
    plain = BaseLender(model_folders["llama"], "CAUSAL_LM", CPU).lend(torch.float32)
    assert not fused.options
    base_lender = BaseLender(model_folders["llama"], "CAUSAL_LM", CPU, fused_kernels=True)
    model = base_lender.lend(torch.float32)
    assert base_lender.lend(torch.float32) is model
    (options,) = fused.options
    assert options["rms_norm"]
    assert options["rope"]
    assert options["swiglu"]
    # Ours are computed a part of the tokens at a time.
    assert not options["fused_linear_cross_entropy"]
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, plain(ids).logits, atol=1e-6)
    assert fused.norms == 2 * 2 + 1


@pytest.mark.parametrize(
    ("device", "planned", "installed"),
    [
        ("cpu", True, True),
        ("cuda", False, True),
        ("cuda", True, False),
        ("cuda", True, True),
    ],
)
def test_trials_use_fused_kernels_where_the_plan_has_them_on_a_gpu(
    backend, monkeypatch, device, planned, installed
):
    hardware = backend._plan.facts.hardware.model_copy(update={"fused_kernels": planned})
    facts = backend._plan.facts.model_copy(update={"hardware": hardware})
    backend._plan = backend._plan.model_copy(update={"facts": facts})
    backend._device = torch.device(device)
    package = object() if installed else None
    monkeypatch.setattr("sweeper.training.torch_backend.find_spec", {"liger_kernel": package}.get)
    context = backend._load_shared(backend._plan.candidates[0].model).context
    assert context.base_lender.fused_kernels is (device == "cuda" and planned and installed)


@pytest.mark.parametrize("kind", ["llama"])
def test_a_trial_trains_with_fused_kernels(fused, backend, config, tmp_path):
    shared = backend.shared(backend._plan.candidates[0].model)
    shared.context.base_lender.fused_kernels = True
    folder = tmp_path / "attempt"
    folder.mkdir()
    result = backend.train(
        config(budget={"epochs": 0.5}), folder, lambda _: Decision.CONTINUE, lambda: False
    )
    assert result.state == "COMPLETE"
    assert fused.norms > 0
