"""The table of GPUs, and the lookup of a GPU by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from statistics import median

from pydantic import Field

from sweeper import resources
from sweeper.artifact import Record
from sweeper.errors import UsageError, near_match

_IGNORED_WORDS = {
    *("nvidia", "geforce", "tesla", "amd", "instinct", "radeon", "ati", "gpu"),
    *("graphics", "card", "generation", "hbm2", "hbm2e", "hbm3", "hbm3e", "edition", "founders"),
}
"""Words of a GPU's name that do not distinguish GPUs."""

# Names of Apple's GPUs, such as ``M3 Max``.
_APPLE = re.compile(r"\bapple\b|\bmps\b|^\s*m[1-9](\s+(pro|max|ultra))?\s*$", re.IGNORECASE)


class Gpu(Record):
    """Memory and speed of a GPU; see ``search_spaces/hardware.yaml`` for units."""

    name: str
    memory_gib: float = Field(gt=0)
    bandwidth_gb_per_second: float = Field(gt=0, alias="bandwidth")
    bf16_tflops: float | None = Field(gt=0)
    fp16_tflops: float | None = Field(None, gt=0)
    fp32_tflops: float = Field(gt=0)
    aliases: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def table() -> Mapping[str, Gpu]:
    """All known GPUs by name."""
    entries = resources.table("hardware.yaml")
    return {name: Gpu(name=name, **fields) for name, fields in entries.items()}


class ListPrice(Record):
    """The price of renting a GPU, in US dollars for each hour."""

    usd: float = Field(gt=0)
    source: str


@lru_cache(maxsize=1)
def list_prices() -> Mapping[str, ListPrice]:
    """Name of a GPU in the table to its price; see ``search_spaces/prices.yaml``."""
    entries = resources.table("prices.yaml")
    source = f"{entries['source']}, {entries['date']}"
    prices = entries["usd_per_gpu_hour"]
    return {name: ListPrice(usd=usd, source=source) for name, usd in prices.items()}


def list_price(name: str) -> ListPrice | None:
    """The list price of the GPU with this name; None if unknown or ambiguous."""
    gpu = find_unambiguous(name)
    return list_prices().get(gpu.name) if gpu else None


def words(name: str) -> frozenset[str]:
    """The words of a name that distinguish GPUs.

    >>> sorted(words("NVIDIA A100-SXM4-80GB"))
    ['80gb', 'a100', 'sxm']
    """
    text = re.sub(r"(\d+)\s*gi?b\b", r" \1gb ", name.lower())
    text = re.sub(r"\b(rtx|gtx|rx)(\d)", r"\1 \2", text)  # RTX4090
    text = re.sub(r"(\d{4})(ti|super)\b", r"\1 \2", text)  # 4070Ti
    text = re.sub(r"\bsxm\d\b", "sxm", text)
    return frozenset(re.findall(r"[a-z0-9]+", text)) - _IGNORED_WORDS


def find(name: str) -> Gpu | None:
    """The GPU whose name has all words of ``name`` and the fewest others; None if there is none.

    Raises:
        UsageError: Several GPUs fit equally well.
    """
    given = words(name)
    further_words: dict[str, int] = {}  # by the GPU's name
    for gpu in table().values():
        for alias in (gpu.name, *gpu.aliases):
            if given and given <= words(alias):
                count = len(words(alias) - given)
                further_words[gpu.name] = min(count, further_words.get(gpu.name, count))
    fewest = min(further_words.values(), default=0)
    matches = [gpu_name for gpu_name, count in further_words.items() if count == fewest]
    if len(matches) > 1:
        raise UsageError(
            f"{name!r} may be any of {', '.join(matches)}", fix="Name one of them.", where="--gpu"
        )
    return table()[matches[0]] if matches else None


def find_unambiguous(name: str) -> Gpu | None:
    """The GPU that ``find`` gives; None if several fit equally well."""
    try:
        return find(name)
    except UsageError:
        return None


def by_name(name: str) -> Gpu:
    """The GPU with this name.

    Raises:
        UsageError: The name is unknown (the error suggests the nearest) or ambiguous.
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
        examples = f"RTX 4090, L4, A100 80GB, H100 and {len(table()) - 4} others (hardware.yaml)"
        hint = f"{hint} " if hint.startswith("Did") else f"Known are {examples}. "
        raise UsageError(
            f"the GPU {name!r} is not in the table",
            fix=f"{hint}Or give its memory only: --gpu-memory GIB.",
            where="--gpu",
        )
    return gpu


def typical(memory_gib: float) -> tuple[Gpu, tuple[Gpu, ...]]:
    """A GPU of this memory with the median speed of similar GPUs, and the similar GPUs.

    Similar are those with bfloat16 and about this memory, sorted by bandwidth x TFLOPS, slowest
    first.
    """
    with_bf16 = [gpu for gpu in table().values() if gpu.bf16_tflops is not None]
    smallest_gap = min(abs(gpu.memory_gib - memory_gib) for gpu in with_bf16)
    # A "24 GB" card reports 22.5 to 24 GiB.
    similar = [gpu for gpu in with_bf16 if abs(gpu.memory_gib - memory_gib) <= smallest_gap + 2]
    gpu = Gpu(
        name=f"{memory_gib:g} GiB GPU",
        memory_gib=memory_gib,
        bandwidth=median(gpu.bandwidth_gb_per_second for gpu in similar),
        bf16_tflops=median(gpu.bf16_tflops or 0 for gpu in similar),
        fp32_tflops=median(gpu.fp32_tflops for gpu in similar),
    )
    similar.sort(key=lambda gpu: gpu.bandwidth_gb_per_second * (gpu.bf16_tflops or 0))
    return gpu, tuple(similar)
