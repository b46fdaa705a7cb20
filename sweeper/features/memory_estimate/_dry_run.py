"""The peak of live tensors in two training steps on torch's meta device.

In the second step, the optimizer states of the first already exist.
"""

from __future__ import annotations

import time
import warnings
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
import transformers.masking_utils
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from transformers import Adafactor, PretrainedConfig

from sweeper.facts.record import ModelFacts
from sweeper.features.memory_estimate._answer import DryRun
from sweeper.features.memory_estimate._kernels import (
    FourBitLinear,
    InPlaceAdamW,
    Kernels,
    MixedPrecision,
)
from sweeper.memory.setup import Setup, SetupRequest
from sweeper.memory.states import QUANTIZED_BYTES
from sweeper.plans import autocast_dtype
from sweeper.strategies.targets import linear_layers
from sweeper.tasks.classification import Classifier, pool
from sweeper.training.probes.bare_models import base_of, config_of, with_adapter_and_head
from sweeper.units import GIB

_STEPS = 2
#: CUDA's caching allocator rounds every block up to this many bytes.
BLOCK_BYTES = 512


def answer(request: SetupRequest) -> DryRun:
    """The dry run of a requested set-up, for ``child_process``."""
    return follow(request.model, request.setup)


def follow(model: ModelFacts, setup: Setup, config: PretrainedConfig | None = None) -> DryRun:
    """The dry run of a set-up.

    Args:
        config: Configuration of the model; from its folder or the catalogue if None.
    """
    started = time.perf_counter()
    config = config_of(model) if config is None else config
    with _patched_for_meta(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained = _build(config, model, setup)
        tracker = _track_steps(trained, setup, config)
    return DryRun(
        peak_gib=tracker.peak_bytes / GIB,
        phase=tracker.peak_kind,
        parts={name: size / GIB for name, size in tracker.peak_parts.items() if size},
        trainable_parameters=sum(p.numel() for p in trained.parameters() if p.requires_grad),
        seconds=time.perf_counter() - started,
    )


def _build(config: PretrainedConfig, model: ModelFacts, setup: Setup) -> nn.Module:
    """The model that a trial of this set-up would train, on the meta device."""
    base = base_of(config, setup)
    if setup.quantization in ("nf4", "nf4-dq"):
        for name, layer in linear_layers(base).items():
            if isinstance(layer, nn.Linear):
                packed = FourBitLinear(layer, QUANTIZED_BYTES[setup.quantization])
                base.set_submodule(name, packed)
    return with_adapter_and_head(base, config, model, setup, torch.device("meta"))


@contextmanager
def _patched_for_meta() -> Iterator[None]:
    """Replace library functions that the meta device does not support."""
    autocast = torch.autocast

    def autocast_or_none(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return nullcontext() if device_type == "meta" else autocast(device_type, *args, **kwargs)

    # The first function reads the values of position ids; the second refuses the meta device.
    find_documents = patch.object(
        transformers.masking_utils, "find_packed_sequence_indices", return_value=None
    )
    with find_documents, patch.object(torch, "autocast", autocast_or_none):
        yield


def _track_steps(trained: nn.Module, setup: Setup, config: PretrainedConfig) -> StorageTracker:
    cuda = setup.device == "cuda"
    mode = MixedPrecision(cuda) if autocast_dtype(setup.precision) else Kernels(cuda)
    if setup.gradient_checkpointing:
        _checkpoint(trained, mode)
    tracker = StorageTracker("weights")
    for tensor in (*trained.parameters(), *trained.buffers()):
        tracker.watch(tensor)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    label_gradients(tracker, parameters)
    optimizer = _optimizer(setup, trained, parameters)
    with tracker:
        for _ in range(_STEPS):
            tracker.kind = "activations"
            with mode:
                loss = _loss(trained, setup, config)
            tracker.kind = "backward pass"
            torch.autograd.backward([loss])
            del loss
            tracker.kind = "optimizer states"
            optimizer.step()
            optimizer.zero_grad()
    return tracker


def _checkpoint(trained: nn.Module, mode: Kernels) -> None:
    for module in trained.modules():
        if hasattr(module, "activation_checkpointing_enable"):
            # The backward pass recomputes the layers outside of ``mode``, so it enters it again.
            module.activation_checkpointing_enable(
                {"use_reentrant": False, "context_fn": lambda: (nullcontext(), mode)}
            )
            return


def _optimizer(
    setup: Setup, trained: nn.Module, parameters: list[nn.Parameter]
) -> torch.optim.Optimizer:
    name = setup.optimizer
    if name == "adamw_torch" and setup.device == "cuda":
        return torch.optim.AdamW(parameters, foreach=True)
    if name.startswith("adamw_torch") and "bit" not in name:
        return InPlaceAdamW(parameters, unquantized=parameters)
    if name == "adafactor":
        return Adafactor(parameters, lr=1e-3, scale_parameter=False, relative_step=False)
    if name in ("adamw_bnb_8bit", "adamw_8bit"):
        embeddings = [m.weight for m in trained.modules() if isinstance(m, nn.Embedding)]
        return InPlaceAdamW(parameters, unquantized=embeddings)
    # Paged states are in main memory; the states of other optimizers are not followed.
    return torch.optim.SGD(parameters, lr=1e-3)


def _loss(trained: nn.Module, setup: Setup, config: PretrainedConfig) -> Tensor:
    ids = meta((setup.micro_batch, setup.sequence_length))
    if isinstance(trained, Classifier):
        mask = meta((setup.micro_batch, setup.sequence_length))
        states = trained.base(input_ids=ids).last_hidden_state
        logits = trained.head(pool(states[:, -mask.shape[1] :], mask, trained.pooling))
        return nn.functional.cross_entropy(logits.float(), meta((setup.micro_batch,)))
    logits = trained(input_ids=ids, use_cache=config.use_cache).logits
    rows = logits.float().flatten(0, 1)
    return nn.functional.cross_entropy(rows, meta((rows.shape[0],)))


class StorageTracker(TorchDispatchMode):
    """Counts live bytes of meta tensors, and their peak. ``kind`` labels new allocations."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.live: Counter[str] = Counter()
        self.peak_bytes = 0
        self.peak_kind = kind
        self.peak_parts: dict[str, int] = {}
        self._allocations: dict[int, tuple[str, int]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_iter(result):
            self.watch(leaf)
        return result

    def watch(self, value: object) -> None:
        """Count a tensor's storage until it is freed; views of a storage count once."""
        if not isinstance(value, Tensor) or value.device.type != "meta":
            return
        storage = value.untyped_storage()
        key = storage._cdata
        if key in self._allocations:
            return
        size = -(-storage.nbytes() // BLOCK_BYTES) * BLOCK_BYTES
        self._allocations[key] = (self.kind, size)
        self.live[self.kind] += size
        weakref.finalize(storage, self._free, key)
        total = self.total
        if total > self.peak_bytes:
            self.peak_bytes, self.peak_kind = total, self.kind
            self.peak_parts = dict(self.live)

    def relabel(self, tensor: Tensor, kind: str) -> None:
        """Count a storage that is already watched as another kind."""
        key = tensor.untyped_storage()._cdata
        old, size = self._allocations[key]
        self._allocations[key] = (kind, size)
        self.live[old] -= size
        self.live[kind] += size

    def _free(self, key: int) -> None:
        kind, size = self._allocations.pop(key)
        self.live[kind] -= size

    @property
    def total(self) -> int:
        return sum(self.live.values())


def label_gradients(tracker: StorageTracker, parameters: Iterable[Tensor]) -> None:
    """Label every gradient as soon as it is accumulated."""

    def label(parameter: Tensor) -> None:
        if parameter.grad is not None:
            tracker.relabel(parameter.grad, "gradients")

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(label)


def meta(shape: tuple[int, ...], dtype: torch.dtype = torch.long) -> Tensor:
    """A tensor of this shape without data."""
    return torch.empty(shape, dtype=dtype, device="meta")
