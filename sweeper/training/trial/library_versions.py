"""Which software a trial ran on, for its result."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

_PACKAGES = (
    "sweeper",
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
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found
