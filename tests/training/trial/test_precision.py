"""A precision is what it says: dtypes of weights, products and optimizer states in a real trial."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from training_fixtures import LORA

from sweeper.strategies import strategy as strategies
from sweeper.training.loop.trainer import MAX_GRAD_NORM, TrialTrainer
from sweeper.training.trial.train import train_trial
from sweeper.training.trial.trial_job import TrialJob
from sweeper.trials import TrialResult

SHORT: dict[str, Any] = {"budget": {"epochs": 0.2, "rungs": 1}}
FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16


class Watched:
    """What dtypes a trial had while it trained."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: set[torch.dtype] = set()
        self.frozen: set[torch.dtype] = set()
        self.products: set[torch.dtype] = set()
        self.states: set[torch.dtype] = set()
        self.norms: list[float] = []
        train = TrialTrainer.train

        def watching(trainer: Any, *arguments: Any, **options: Any) -> Any:
            model = trainer.model
            for weight in nn.Module.parameters(model):
                (self.trained if weight.requires_grad else self.frozen).add(weight.dtype)
            hooks = [
                module.register_forward_hook(lambda *seen: self.products.add(seen[2].dtype))
                for name, module in model.named_modules()
                if isinstance(module, nn.Linear) and "head" not in name and "lora" not in name
            ]
            output = train(trainer, *arguments, **options)
            for hook in hooks:
                hook.remove()
            states = [s for one in trainer.optimizer.state.values() for s in one.values()]
            self.states |= {s.dtype for s in states if torch.is_tensor(s) and s.ndim}
            return output

        monkeypatch.setattr(TrialTrainer, "train", watching)


FULL: dict[str, Any] = {"learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("strategy", "precision", "frozen", "trained", "products"),
    [
        ("full", "fp32", None, FP32, FP32),
        ("full", "bf16-mixed", None, FP32, BF16),
        ("full", "fp16-mixed", None, FP32, FP16),
        ("full", "bf16-pure", None, BF16, BF16),
        ("lora", "fp32", FP32, FP32, FP32),
        ("lora", "bf16-mixed", BF16, FP32, BF16),
        ("lora", "fp16-mixed", FP16, FP32, FP16),
        ("lora", "bf16-pure", BF16, BF16, BF16),
    ],
)
def test_weights_products_and_states_have_the_dtypes_of_the_precision(
    make_job: Callable[..., TrialJob],
    make_shared: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    precision: str,
    frozen: torch.dtype | None,
    trained: torch.dtype,
    products: torch.dtype,
) -> None:
    seen = Watched(monkeypatch)
    own = {"parameters": FULL} if strategy == "full" else {}
    job = make_job(make_shared(), strategy=strategy, precision=precision, **own, **SHORT)

    assert train_trial(job).state == "COMPLETE"

    head = {FP32}  # a new head is always in fp32
    assert seen.frozen == ({frozen} if frozen else set())
    assert seen.trained == {trained} | head
    assert seen.products == {products}
    assert seen.states == {trained} | head


def test_gradients_are_clipped_at_the_norm_that_a_trial_says(
    make_job: Callable[..., TrialJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[float] = []
    clip = TrialTrainer._clip_grad_norm

    def watching(trainer: Any, *arguments: Any, **options: Any) -> Any:
        limits.append(trainer.args.max_grad_norm)
        return clip(trainer, *arguments, **options)

    monkeypatch.setattr(TrialTrainer, "_clip_grad_norm", watching)
    job = make_job(**SHORT)
    assert train_trial(job).state == "COMPLETE"
    assert set(limits) == {MAX_GRAD_NORM}

    limits.clear()
    own = {**job.config.parameters, "max_grad_norm": 0.25}
    assert train_trial(make_job(parameters=own, **SHORT)).state == "COMPLETE"
    assert set(limits) == {0.25}


class Widened(TorchDispatchMode):
    """Counts the bytes of float32 that casts from bfloat16 make."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default:
            self.bytes += result.nbytes * (args[0].dtype == BF16 and result.dtype == FP32)
        return result


@pytest.mark.parametrize("strategy", ["lora", "adapter"])
def test_mixed_precision_does_not_widen_what_adapters_read(
    make_job: Callable[..., TrialJob], monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    own = {"lora": {}, "adapter": {"reduction_factor": 4, "placement": "houlsby"}}[strategy]
    parameters = {**LORA, **own}
    asked = {"strategy": strategy, "precision": "bf16-mixed", "parameters": parameters, **SHORT}

    def trained() -> tuple[TrialResult, int]:
        with Widened() as widened:
            return train_trial(make_job(**asked)), widened.bytes

    result, less = trained()
    monkeypatch.setattr(strategies, "_CAST_ATTRIBUTE", "no_such_name")
    usual, more = trained()
    assert result.state == usual.state == "COMPLETE", result.failure
    assert result.validation_loss == pytest.approx(usual.validation_loss, rel=1e-5)
    assert less < 0.8 * more, (less, more)
