"""liger-kernel's fused kernels for norms, rotary positions and gated MLPs of a model on a GPU."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

# Liger's losses are off, since trials already compute the loss for part of the tokens at a time.
# Liger's loss and gradient are the same (differences below 1e-7), and it needs less memory: for 512
# tokens of SmolLM2 in float32, 5 MiB in addition to the output layer, not 146. But it waits for the
# GPU, and multiplies 8 tokens at a time instead of 256, so it reads the output layer 64 times.
_KERNELS = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


def fuse(model: nn.Module) -> None:
    """Compute with fused kernels where liger-kernel has them for the architecture.

    Weights and names stay the same. Rotary positions change for all models of the architecture in
    this process.
    """
    # Imported here because it loads Triton, which machines without a GPU lack.
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    assert isinstance(model, PreTrainedModel)
    _apply_liger_kernel_to_instance(model=model, **_KERNELS)
