"""The table of GPUs, and which of them a name means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from statistics import median

from pydantic import Field

from sweeper import resources
from sweeper.artifact import Record
from sweeper.errors import UsageError, near_match

_NOISE = {
    *("nvidia", "geforce", "tesla", "amd", "instinct", "radeon", "ati", "gpu"),
    *("graphics", "card", "generation", "hbm2", "hbm2e", "hbm3", "hbm3e", "edition", "founders"),
}
"""Words that say who made a card or what it is built of, but not which card it is."""

_APPLE = re.compile(r"\bapple\b|\bmps\b|^\s*m[1-9](\s+(pro|max|ultra))?\s*$", re.IGNORECASE)


class Gpu(Record):
    """Memory and speed of one device; see ``search_spaces/hardware.yaml`` for units."""

    name: str
    memory_gib: float = Field(gt=0)
    bandwidth: float = Field(gt=0)
    bf16_tflops: float | None = Field(gt=0)
    fp16_tflops: float | None = Field(None, gt=0)
    fp32_tflops: float = Field(gt=0)
    also: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def table() -> Mapping[str, Gpu]:
    """All known GPUs by name."""
    entries = resources.table("hardware.yaml")
    return {name: Gpu(name=name, **fields) for name, fields in entries.items()}


class ListPrice(Record):
    """What renting a card costs, in US dollars an hour."""

    usd: float = Field(gt=0)
    source: str


@lru_cache(maxsize=1)
def list_prices() -> Mapping[str, ListPrice]:
    """Prices of cards by their names in the table; see ``search_spaces/prices.yaml``."""
    entries = resources.table("prices.yaml")
    source = f"{entries['source']}, {entries['date']}"
    prices = entries["usd_per_gpu_hour"]
    return {name: ListPrice(usd=usd, source=source) for name, usd in prices.items()}


def list_price(name: str) -> ListPrice | None:
    """The list price of the card that a name means; None where it is not known."""
    try:
        gpu = find(name)
    except UsageError:  # several cards
        return None
    return list_prices().get(gpu.name) if gpu else None


def words(name: str) -> frozenset[str]:
    """The words of a name that distinguish cards.

    >>> sorted(words("NVIDIA A100-SXM4-80GB"))
    ['80gb', 'a100', 'sxm']
    """
    text = re.sub(r"(\d+)\s*gi?b\b", r" \1gb ", name.lower())
    text = re.sub(r"\b(rtx|gtx|rx)(\d)", r"\1 \2", text)  # RTX4090
    text = re.sub(r"(\d{4})(ti|super)\b", r"\1 \2", text)  # 4070Ti
    text = re.sub(r"\bsxm\d\b", "sxm", text)
    return frozenset(re.findall(r"[a-z0-9]+", text)) - _NOISE


def find(name: str) -> Gpu | None:
    """The GPU that a name means: all words given, and no more words of its own than any other.

    Raises:
        UsageError: Several GPUs are meant equally.
    """
    asked = words(name)
    surplus: dict[str, int] = {}
    for gpu in table().values():
        for name_ in (gpu.name, *gpu.also):
            if asked and asked <= words(name_):
                extra = len(words(name_) - asked)
                surplus[gpu.name] = min(extra, surplus.get(gpu.name, extra))
    best = [name_ for name_, extra in surplus.items() if extra == min(surplus.values())]
    if len(best) > 1:
        raise UsageError(
            f"{name!r} may be any of {', '.join(best)}", fix="Name one of them.", where="--gpu"
        )
    return table()[best[0]] if best else None


def named(name: str) -> Gpu:
    """The GPU of that name.

    Raises:
        UsageError: It is unknown (the nearest is named) or ambiguous.
    """
    gpu = find(name)
    if gpu is None and _APPLE.search(name):
        raise UsageError(
            f"{name!r} is a GPU of Apple, which training does not support",
            why="Trials run on CUDA or ROCm devices, or on the CPU.",
            fix="On a Mac, leave --gpu out to plan for its CPU.",
            where="--gpu",
        )
    if gpu is None:
        hint = near_match(name, table())
        some = f"RTX 4090, L4, A100 80GB, H100 and {len(table()) - 4} others (hardware.yaml)"
        hint = f"{hint} " if hint.startswith("Did") else f"Known are {some}. "
        raise UsageError(
            f"the GPU {name!r} is not in the table",
            fix=f"{hint}Or give its memory only: --gpu-memory GIB.",
            where="--gpu",
        )
    return gpu


def typical(memory_gib: float) -> tuple[Gpu, tuple[Gpu, ...]]:
    """A card of this memory with the median speed of those that come nearest, and these.

    The slowest comes first: by what a card moves and computes, alike.

    Cards without bfloat16 are set aside: they are six years old.
    """
    modern = [gpu for gpu in table().values() if gpu.bf16_tflops is not None]
    nearest = min(abs(gpu.memory_gib - memory_gib) for gpu in modern)
    # A "24 GB" card reports 22.5 to 24 GiB.
    alike = [gpu for gpu in modern if abs(gpu.memory_gib - memory_gib) <= nearest + 2]
    gpu = Gpu(
        name=f"{memory_gib:g} GiB GPU",
        memory_gib=memory_gib,
        bandwidth=median(gpu.bandwidth for gpu in alike),
        bf16_tflops=median(gpu.bf16_tflops or 0 for gpu in alike),
        fp32_tflops=median(gpu.fp32_tflops for gpu in alike),
    )
    alike.sort(key=lambda gpu: gpu.bandwidth * (gpu.bf16_tflops or 0))
    return gpu, tuple(alike)
