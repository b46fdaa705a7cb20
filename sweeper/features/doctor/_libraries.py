"""Checks of the training libraries on this machine, each with a tiny tensor.

Each result is an event, so that results survive a library that crashes the process.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import metadata
from typing import Any

from sweeper.artifact import Record
from sweeper.child_process import tell_event
from sweeper.extras import install_command

# Exceptions of libraries if a device, a kernel or a build lacks something.
_FAILURES = (ImportError, OSError, RuntimeError, AttributeError, ValueError, TypeError)

_TRAIN = install_command("train")
# Elements of a tensor that suffice for bitsandbytes to keep its states in 8 bits.
_ELEMENTS = 4096


def checks() -> Iterator[dict[str, object]]:
    """The results of all checks: of the libraries, then of their functions on this device."""
    for name in ("torch", "transformers", "peft"):
        yield _library(name, needed=True)
    yield _library("bitsandbytes", needed=False)
    yield _attempt("CUDA", _cuda, "Install the GPU's driver and a torch build with CUDA.")
    yield _attempt("bf16", _bf16, "Train with --precision fp16-mixed or fp32 here.")
    yield _attempt("4-bit", _four_bit, "pip install bitsandbytes; without it QLoRA cannot train.")
    eight_bit = partial(_optimizer_step, "AdamW8bit")
    yield _attempt(
        "8-bit optimizer", eight_bit, "Leave out full where its plan says adamw_bnb_8bit."
    )
    yield _attempt(
        "paged optimizer", _paged, "It needs an NVIDIA GPU; elsewhere states stay in memory."
    )


def _library(name: str, *, needed: bool) -> dict[str, object]:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return _result(name, "not installed", "", _TRAIN, needed)
    try:
        importlib.import_module(name)
    except _FAILURES as error:
        return _result(name, "does not work", f"{version}: {_first_line(error)}", _TRAIN, needed)
    return _result(name, "works", version, "", needed)


def _attempt(name: str, attempt: Callable[[], str], fix: str) -> dict[str, object]:
    try:
        return _result(name, "works", attempt())
    except ModuleNotFoundError as error:
        return _result(name, "not installed", _first_line(error), fix)
    except _FAILURES as error:
        return _result(name, "does not work", _first_line(error), fix)


def _result(
    name: str, state: str, detail: str, fix: str = "", needed: bool = False
) -> dict[str, object]:
    return {"name": name, "state": state, "detail": detail, "fix": fix, "needed": needed}


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]


def _torch() -> Any:
    return importlib.import_module("torch")


def _device() -> str:
    return "cuda" if _torch().cuda.is_available() else "cpu"


def _cuda() -> str:
    torch = _torch()
    if not torch.cuda.is_available():
        cuda_version = torch.version.cuda
        why = (
            "no GPU that its driver shows" if cuda_version else "this torch was built without CUDA"
        )
        raise RuntimeError(why)
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    torch.ones(8, 8, device="cuda").matmul(torch.ones(8, 8, device="cuda")).sum().item()
    return f"CUDA {torch.version.cuda}: {', '.join(names)}"


def _bf16() -> str:
    torch, device = _torch(), _device()
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise RuntimeError("this GPU has no bfloat16")
    ones = torch.ones(8, 8, device=device, dtype=torch.bfloat16, requires_grad=True)
    ones.matmul(ones).sum().backward()
    return f"a product and its gradient on {device}"


def _four_bit() -> str:
    torch, device = _torch(), _device()
    functional = importlib.import_module("bitsandbytes.functional")
    values = torch.linspace(-1, 1, _ELEMENTS, device=device).reshape(64, 64)
    packed, state = functional.quantize_4bit(values, quant_type="nf4", compress_statistics=True)
    error = (functional.dequantize_4bit(packed, state) - values).abs().max().item()
    # NF4's widest gap, at the end of its range, is 0.30 (QLoRA, arXiv:2305.14314, appendix E): half
    # of it is the largest error, and quantised statistics add a little.
    if error > 0.2:
        raise RuntimeError(f"NF4 came back wrong by {error:.2f}")
    return f"NF4 with double quantisation on {device}"


def _paged() -> str:
    if _device() == "cpu":
        raise RuntimeError("paging moves states between a GPU and main memory; there is no GPU")
    return _optimizer_step("PagedAdamW8bit")


def _optimizer_step(name: str) -> str:
    torch, device = _torch(), _device()
    optimizer_type = getattr(importlib.import_module("bitsandbytes.optim"), name)
    weight = torch.nn.Parameter(torch.ones(_ELEMENTS, device=device))
    optimizer = optimizer_type([weight], lr=0.1)
    weight.sum().backward()
    optimizer.step()
    if not bool((weight < 1).all()):
        raise RuntimeError(f"a step of {name} left the weights as they were")
    return f"a step of {name} on {device}"


def answer(_request: Record) -> None:
    """Send each result as soon as the check ends."""
    warnings.simplefilter("ignore")
    for check in checks():
        tell_event(**check)
