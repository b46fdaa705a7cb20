"""The base model: loaded once, lent to each trial, and restored exactly afterwards."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedModel

from sweeper.errors import ModelError
from sweeper.strategies.loading import keep_trainable, options_without_pooler, quiet_library
from sweeper.strategies.strategy import TaskType
from sweeper.training.loop.device_memory import bytes_of, loading_a_model

log = logging.getLogger(__name__)

_AUTO: dict[TaskType, Any] = {"CAUSAL_LM": AutoModelForCausalLM, "FEATURE_EXTRACTION": AutoModel}
# Integer dtype for the bit patterns of a tensor, by bytes of an element.
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# After each trial, one tensor in eight is compared with its checksum; after eight trials, all were.
_CHECK_ONE_IN = 8
# A base is moved to main memory if it takes no more than this share of the available memory.
_MAX_MEMORY_SHARE = 0.25
# Which of Liger's kernels are used. Its losses are not, since trials already compute the loss for
# part of the tokens at a time. Liger's has the same value and gradient (differences below 1e-7) and
# needs less memory: for 512 tokens of SmolLM2 in float32, 5 MiB in addition to the output layer,
# not 146. But it waits for the GPU, and multiplies 8 tokens at a time instead of 256, so it reads
# the output layer 64 times.
_FUSED_KERNELS = {
    "rope": True,
    "rms_norm": True,
    "swiglu": True,
    "cross_entropy": False,
    "fused_linear_cross_entropy": False,
}


def fuse(model: nn.Module) -> None:
    """Compute norms, rotary positions and gated MLPs with liger-kernel's kernels, if it has them.

    Weights and names stay the same. Rotary positions change for all models of the architecture in
    this process.
    """
    # Imported here because it loads Triton, which machines without a GPU lack.
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    assert isinstance(model, PreTrainedModel)
    _apply_liger_kernel_to_instance(model=model, **_FUSED_KERNELS)


def load_base(
    folder: Path,
    task_type: TaskType,
    dtype: torch.dtype,
    device: torch.device,
    quantization_config: Any = None,
    trust_remote_code: bool = False,
    name: str = "",
    config: Any = None,
    fused_kernels: bool = False,
) -> nn.Module:
    """A base model from a local folder: frozen, in evaluation mode, without key-value cache.

    The dtype is explicit: transformers would load most models in the dtype they were saved
    in, and a trial could train in pure bf16 although nobody chose it.

    Args:
        name: Name of the base in adapters; the folder's path if empty.
        config: Configuration of the model; the folder's if None.

    Raises:
        TooLarge: The model does not fit on the device.
    """
    auto = _AUTO[task_type]
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    config = config or AutoConfig.from_pretrained(folder, **options)
    config.use_cache = False
    model_class = auto._model_mapping.get(type(config), None)
    options |= options_without_pooler(model_class) if isinstance(model_class, type) else {}
    if quantization_config is not None:
        options |= {"quantization_config": quantization_config, "device_map": {"": device}}
    with quiet_library(), loading_a_model():
        model: nn.Module = auto.from_pretrained(
            folder, config=config, dtype=dtype, use_safetensors=True, **options
        )
        if quantization_config is None:
            model.to(device)
    keep_trainable(model)
    if fused_kernels:
        fuse(model)
    if name:
        # PEFT writes this into an adapter as its base: a name that is also valid on other machines.
        model.name_or_path = name
    return model.requires_grad_(False).eval()


def set_gradient_checkpointing(base: Any, on: bool) -> None:
    """Switch gradient checkpointing on (in the non-reentrant variant) or off.

    Raises:
        ModelError: The architecture does not support it.
    """
    if on and not base.supports_gradient_checkpointing:
        raise ModelError(
            f"{type(base).__name__} does not support gradient checkpointing",
            fix="Set training.gradient_checkpointing to false.",
        )
    if on:
        base.activation_checkpointing_enable({"use_reentrant": False})
    elif base.is_activation_checkpointing:
        base.activation_checkpointing_disable()


def checksum(tensor: Tensor) -> int:
    """The sum of a tensor's bit patterns: equal for equal weights, different after any update."""
    bits = tensor.detach().contiguous().view(_BITS[tensor.element_size()])
    return int(bits.sum(dtype=torch.int64))


def _weights(model: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers except quantised ones.

    No strategy trains quantised weights, and bitsandbytes repacks them on a CPU when the model goes
    from training to evaluation.
    """
    return {
        name: tensor
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if not hasattr(tensor, "quant_state")
    }


@dataclass(eq=False)
class _LoadedBase:
    """A loaded base, the checksums of its weights, and their originals if a trial trains them."""

    model: nn.Module
    checksums: dict[str, int]
    original: dict[str, Tensor] | None = None

    def restore(self) -> None:
        if self.original is not None:
            with torch.no_grad():
                for name, weight in _weights(self.model).items():
                    weight.copy_(self.original[name])

    def is_unchanged(self, turn: int) -> bool:
        """Whether no weight was added or removed, and this turn's part of them is unchanged."""
        weights = _weights(self.model)
        names = sorted(self.checksums)[turn % _CHECK_ONE_IN :: _CHECK_ONE_IN]
        return weights.keys() == self.checksums.keys() and all(
            checksum(weights[name]) == self.checksums[name] for name in names
        )


@dataclass
class BaseLender:
    """Loads one base model in each dtype asked for, lends it, and restores it after each loan.

    A GPU holds the variant of one dtype and quantisation at a time. The others are in main memory,
    if they fit and are not quantised.

    Args:
        folder: Folder with the config and safetensors weights.
        task_type: ``CAUSAL_LM`` to load the output layer too, else ``FEATURE_EXTRACTION``.
        trust_remote_code: Whether the user allowed code from the model's folder to run.
        name: Name of the base in adapters.
        fused_kernels: Whether to compute with fused kernels.
    """

    folder: Path
    task_type: TaskType
    device: torch.device
    trust_remote_code: bool = False
    name: str = ""
    fused_kernels: bool = False
    _loaded: dict[str, _LoadedBase] = field(default_factory=dict)
    _key_on_device: str = ""
    _return_count: int = 0

    def lend(
        self, dtype: torch.dtype, quantization_config: Any = None, will_change: bool = False
    ) -> nn.Module:
        """The base with exactly its own weights, all frozen.

        Args:
            will_change: The borrower trains the base's own weights; a copy of them is kept.
        """
        key = _key(dtype, quantization_config)
        if key not in self._loaded:
            self._move_off_device()
            options: dict[str, Any] = {"name": self.name, "fused_kernels": self.fused_kernels}
            options["trust_remote_code"] = self.trust_remote_code
            model = load_base(
                self.folder, self.task_type, dtype, self.device, quantization_config, **options
            )
            sums = {name: checksum(weight) for name, weight in _weights(model).items()}
            self._loaded[key], self._key_on_device = _LoadedBase(model, sums), key
        loaded = self._loaded[key]
        if key != self._key_on_device:
            self._move_off_device()
            with loading_a_model():
                loaded.model.to(self.device)
            self._key_on_device = key
        if will_change and loaded.original is None:
            weights = _weights(loaded.model).items()
            loaded.original = {name: w.detach().to("cpu", copy=True) for name, w in weights}
        return loaded.model

    def give_back(self, model: nn.Module, changed: bool = False) -> None:
        """Restore a lent base, and compare part of its weights with their checksums.

        If they differ (a strategy changed weights without saying so), the next ``lend`` loads the
        base again.

        Args:
            changed: Whether the borrower trained the base's own weights.
        """
        self._return_count += 1
        model.requires_grad_(False).eval()
        loaded = next((base for base in self._loaded.values() if base.model is model), None)
        if loaded is not None and changed:
            loaded.restore()
        if loaded is None or not loaded.is_unchanged(self._return_count):
            log.warning("a trial changed the base model's weights; they are loaded again")
            self.release()

    def _move_off_device(self) -> None:
        """Move the GPU's variant to main memory; drop it if it is quantised or too large."""
        loaded = self._loaded.get(self._key_on_device)
        if loaded is None or self.device.type != "cuda":
            return
        available_bytes = _MAX_MEMORY_SHARE * psutil.virtual_memory().available
        if getattr(loaded.model, "is_quantized", False) or bytes_of(loaded.model) > available_bytes:
            del self._loaded[self._key_on_device]
        else:
            loaded.model.to("cpu")
        self._key_on_device = ""
        torch.cuda.empty_cache()

    def release(self) -> None:
        """Release all memory. The next ``lend`` loads again."""
        self._loaded.clear()
        self._key_on_device = ""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _key(dtype: torch.dtype, quantization_config: Any) -> str:
    """A key for the variant of a base in this dtype and quantisation."""
    quantized = quantization_config.to_json_string() if quantization_config is not None else ""
    return f"{dtype} {quantized}"
