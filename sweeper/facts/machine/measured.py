"""Measurements of this machine in the cache folder: a processor's speed, and trainings."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import Field, ValidationError

from sweeper.artifact import Artifact
from sweeper.cache import home
from sweeper.facts.record import HardwareFacts, Measured, ModelFacts, TrainingSetup


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


def calibration_path(processor: str, cores: int) -> Path:
    """The file with a processor's calibration, by the installed versions."""
    key = hashlib.sha256(f"{processor}|{cores}|{versions()}".encode()).hexdigest()[:16]
    return home() / "calibration" / f"{key}.json"


def read_calibration(processor: str, cores: int) -> Calibration | None:
    """The calibration of a processor; None if it is missing or cannot be read."""
    return Calibration.read_or_none(calibration_path(processor, cores))


def store_calibration(calibration: Calibration) -> Path:
    """Store a calibration; returns its path."""
    path = calibration_path(calibration.processor, calibration.cores)
    calibration.write(path)
    return path


# Bytes that are read from the end of a file: about a thousand trainings.
_TAIL_BYTES = 512 * 1024
# In ``HardwareFacts.name``, stands between the name of a GPU that is not in the table and those of
# similar GPUs whose speed is used.
TIMES_OF = " (times of "
# Largest number of set-ups in a plan's facts.
MAX_SETUPS = 40
_MEASURED_FIELDS = ("seconds_per_step", "seconds_per_item", "peak_gib", "reserved_gib")
# Fields in which the trainings of one set-up differ.
_FIELDS_OF_TRAININGS = {*_MEASURED_FIELDS, "trainings", "when"}

# Fields of ``ModelFacts`` that describe the architecture.
_SHAPE_FIELDS = (
    "model_type", "parameters", "layers", "hidden_size", "attention_heads", "key_value_heads",
    "head_dim", "intermediate_size", "vocabulary_size", "tied_embeddings", "gated_mlp", "moe",
    "mla",
)  # fmt: skip


@lru_cache(maxsize=64)
def shape_of(model: ModelFacts) -> str:
    """A digest of the model's architecture."""
    text = "|".join(str(getattr(model, name)) for name in _SHAPE_FIELDS)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dated_measurement(setup: TrainingSetup, model: ModelFacts, **fields: Any) -> Measured:
    """A record of a set-up and measured figures, with today's date and the installed versions."""
    fields |= {
        "setup": TrainingSetup.taken_from(setup),
        "shape": shape_of(model),
        "when": datetime.now(UTC).date().isoformat(),
        "versions": versions(),
    }
    return Measured.taken_from(setup, **fields)


def path_of(device: str, cores: int) -> Path:
    """The file with the measurements of trainings on a device. ``cores`` is 0 for a GPU."""
    name = device.partition(TIMES_OF)[0]
    key = hashlib.sha256(f"{name}|{cores}".encode()).hexdigest()[:16]
    return home() / "measured" / f"{key}.jsonl"


def append(measured: Measured, device: str, cores: int) -> Path:
    """Store one measurement; returns its path.

    Raises:
        OSError: The folder cannot be written.
    """
    path = path_of(device, cores)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (measured.model_dump_json(exclude_defaults=True) + "\n").encode()
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line  # a writer was killed in the middle of its line
        os.write(handle, line)
    finally:
        os.close(handle)
    return path


def read(device: str, cores: int) -> tuple[Measured, ...]:
    """Measurements with the installed versions, one for each set-up, newest first."""
    try:
        with path_of(device, cores).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return ()
    entries, installed = [], versions()
    for line in lines:
        with suppress(ValidationError):
            entries.append(Measured.model_validate_json(line))
    return _one_per_setup(entry for entry in entries if entry.versions == installed)


def with_measured(hardware: HardwareFacts, models: Iterable[ModelFacts]) -> HardwareFacts:
    """Hardware facts with earlier measurements of these models' architectures.

    Hardware that is stated and not detected has no measurements.
    """
    if not hardware.detected:
        return hardware
    cores = (hardware.cpu_cores or 1) if hardware.device == "cpu" else 0
    measured = read(hardware.name, cores)
    if not measured:
        return hardware
    shapes = {shape_of(model) for model in models}
    # Trainings without a recorded number of threads used all cores.
    chosen = tuple(
        entry.model_copy(update={"threads": entry.threads or cores or None})
        for entry in measured
        if entry.shape in shapes
    )[:MAX_SETUPS]
    return hardware.model_copy(update={"measured": chosen})


def _one_per_setup(entries: Iterable[Measured]) -> tuple[Measured, ...]:
    """One record for each set-up, with the medians of its trainings; newest first."""
    groups: dict[str, list[Measured]] = {}
    for entry in entries:
        groups.setdefault(entry.model_dump_json(exclude=_FIELDS_OF_TRAININGS), []).append(entry)
    merged = [_medians(group) for group in groups.values()]
    return tuple(sorted(merged, key=lambda m: (m.when, m.model_dump_json()), reverse=True))


def _medians(group: list[Measured]) -> Measured:
    """One record for all trainings of a set-up; medians have four significant digits."""
    update: dict[str, Any] = {
        "trainings": sum(entry.trainings for entry in group),
        "when": max(entry.when for entry in group),
    }
    for name in _MEASURED_FIELDS:
        values = [value for entry in group if (value := getattr(entry, name)) is not None]
        update[name] = float(f"{median(values):.4g}") if values else None
    return group[-1].model_copy(update=update)
