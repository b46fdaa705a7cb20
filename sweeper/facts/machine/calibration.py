"""The measured speed of this machine's processor, in the cache folder, one file a machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import Field

from sweeper.artifact import Artifact
from sweeper.cache import home


class Calibration(Artifact):
    """Of all cores that this process may use, together.

    Args:
        fp32_gflops: Matrix products of a small transformer's shapes.
        bandwidth_gb_per_second: Adding a number to more floats than caches hold.
    """

    processor: str
    cores: int = Field(ge=1)
    versions: str
    fp32_gflops: float = Field(gt=0)
    bandwidth_gb_per_second: float = Field(gt=0)
    when: str


def versions() -> str:
    """The installed torch, which decides what a machine can do; empty without it."""
    from importlib.metadata import PackageNotFoundError, version  # loads what reads e-mail

    try:
        return f"torch {version('torch')}"
    except PackageNotFoundError:
        return ""


def path_of(processor: str, cores: int) -> Path:
    """The file with the calibration of such a machine with the installed versions."""
    key = hashlib.sha256(f"{processor}|{cores}|{versions()}".encode()).hexdigest()[:16]
    return home() / "calibration" / f"{key}.json"


def read(processor: str, cores: int) -> Calibration | None:
    """The calibration of such a machine; None if there is none, or none that can be read."""
    return Calibration.read_or_none(path_of(processor, cores))


def write(calibration: Calibration) -> Path:
    """Keep a calibration; returns where."""
    path = path_of(calibration.processor, calibration.cores)
    calibration.write(path)
    return path
