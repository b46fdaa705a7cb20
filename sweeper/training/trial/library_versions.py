"""Which software a trial ran on, for its result."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

import sweeper

_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "bitsandbytes",
    "scikit-learn",
    "numpy",
)


@cache
def versions() -> dict[str, str]:
    """Package to version; ``cuda`` too where torch has it."""
    found = {"python": platform.python_version(), "sweeper": sweeper.__version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found
