"""The measured speed of a processor, in the cache folder with one file for each processor."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from pydantic import Field

from sweeper.artifact import Artifact
from sweeper.cache import home


class Calibration(Artifact):
    """The speed of all cores together that this process may use.

    Args:
        fp32_gflops: Speed of matrix products with a small transformer's shapes.
        bandwidth_gb_per_second: Speed of adding a number to more floats than fit into caches.
    """

    processor: str
    cores: int = Field(ge=1)
    versions: str
    fp32_gflops: float = Field(gt=0)
    bandwidth_gb_per_second: float = Field(gt=0)
    when: str


def versions() -> str:
    """Versions of torch and of installed packages with GPU kernels, on which speed depends."""
    from importlib.metadata import PackageNotFoundError, version  # it loads the email package

    installed = []
    for package in ("torch", "flash-attn", "liger-kernel"):
        with suppress(PackageNotFoundError):
            installed.append(f"{package} {version(package)}")
    return ", ".join(installed)


def path_of(processor: str, cores: int) -> Path:
    """The file with a processor's calibration, by the installed versions."""
    key = hashlib.sha256(f"{processor}|{cores}|{versions()}".encode()).hexdigest()[:16]
    return home() / "calibration" / f"{key}.json"


def read(processor: str, cores: int) -> Calibration | None:
    """The calibration of a processor; None if it is missing or cannot be read."""
    return Calibration.read_or_none(path_of(processor, cores))


def write(calibration: Calibration) -> Path:
    """Store a calibration; returns its path."""
    path = path_of(calibration.processor, calibration.cores)
    calibration.write(path)
    return path
