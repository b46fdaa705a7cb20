"""Fused kernels are used where the plan has them, and on a GPU alone.

One test computes with liger-kernel itself, in Triton's interpreter; the others emulate it.
"""

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
from sweeper.training.base_model.base_lender import BaseLender

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
    base_lender = BaseLender(model_folders["llama"], "CAUSAL_LM", CPU, fused=True)
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
    assert context.base_lender.fused is (device == "cuda" and planned and installed)


@pytest.mark.parametrize("kind", ["llama"])
def test_a_trial_trains_with_fused_kernels(fused, backend, config, tmp_path):
    shared = backend.shared(backend._plan.candidates[0].model)
    shared.context.base_lender.fused = True
    folder = tmp_path / "attempt"
    folder.mkdir()
    result = backend.train(
        config(budget={"epochs": 0.5}), folder, lambda _: Decision.CONTINUE, lambda: False
    )
    assert result.state == "COMPLETE"
    assert fused.norms > 0
