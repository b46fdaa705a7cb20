"""The rules of thumb that other tools publish, as functions of a case: the ones to beat.

Each gives GiB, or None where the rule says nothing about such a set-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from benchmarks.memory.records import Case
from sweeper.memory.states import trainable_parameters
from sweeper.units import GIB

Rule = Callable[[Case], float | None]


def _method(case: Case) -> str:
    setup = case.setup
    if setup.strategy == "full":
        return "full (pure bf16)" if setup.precision == "bf16-pure" else "full (mixed)"
    if setup.quantization is None:
        return "lora"
    return "qlora 8-bit" if setup.quantization == "int8" else "qlora 4-bit"


def llama_factory(case: Case) -> float | None:
    """Gigabytes for a billion parameters (LLaMA-Factory, README, hardware requirement)."""
    factors = {
        "full (mixed)": 18.0, "full (pure bf16)": 8.0, "lora": 2.0, "qlora 8-bit": 1.0,
        "qlora 4-bit": 0.5,
    }  # fmt: skip
    return factors[_method(case)] * case.model.parameters / GIB


def lmflow(case: Case) -> float | None:
    """A table of gigabytes by size, straight lines between its rows (LMFlow, README)."""
    tables: Mapping[str, tuple[float, ...]] = {
        "full": (9, 55, 120, 240, 600, 1200), "lora": (1, 6, 16, 32, 64, 160),
        "qlora 8-bit": (0.7, 3, 10, 20, 40, 80), "qlora 4-bit": (0.4, 1.5, 6, 12, 24, 48),
    }  # fmt: skip
    return _between(case, (0.5, 3, 7, 13, 30, 70), tables[_method(case).split(" (")[0]])


def axolotl(case: Case) -> float | None:
    """The middle of a range of gigabytes for a class of sizes (axolotl, choosing a method)."""
    tables: Mapping[str, tuple[float, ...]] = {
        "full": (28, 70, 120), "lora": (10, 20, 34, 72), "qlora 4-bit": (7, 12, 18, 28, 44),
    }  # fmt: skip
    table = tables.get(_method(case).split(" (")[0])
    return None if table is None else _between(case, (2, 7.5, 13.5, 32, 71)[: len(table)], table)


def _between(case: Case, sizes: tuple[float, ...], values: tuple[float, ...]) -> float:
    size = case.model.parameters / 1e9
    if size <= sizes[0]:
        return values[0] * size / sizes[0] * 1e9 / GIB
    pairs = list(zip(sizes, values, strict=True))
    for (a, low), (b, high) in pairwise(pairs):
        if size <= b:
            return (low + (high - low) * (size - a) / (b - a)) * 1e9 / GIB
    return values[-1] * size / sizes[-1] * 1e9 / GIB


def accelerate(case: Case) -> float | None:
    """Four times the weights for Adam (accelerate, model size estimator)."""
    return 4.0 * case.model.parameters * case.setup.base_bytes / GIB


def eighteen_bytes(case: Case) -> float | None:
    """18 bytes a parameter in mixed precision with Adam, full only (transformers, BAdam)."""
    if case.setup.strategy != "full":
        return None
    return 18.0 * case.model.parameters / GIB


def unsloth_studio(case: Case) -> float | None:
    """Weights, adapters, optimizer, gradients, activations and 1.4 GB (Unsloth Studio)."""
    model, setup = case.model, case.setup
    trained = trainable_parameters(model, setup)
    divisor = {"nf4": 16 / 5, "nf4-dq": 3.6, "int4": 16 / 5, "int8": 2.0}
    base = 2.0 * model.parameters / divisor.get(setup.quantization or "", 1.0)
    name = setup.optimizer.replace("-", "")
    states = 4 if "8bit" in name or "sgd" in name else 8 if "paged" in name else 6
    own = 0.0 if setup.strategy == "full" else 2.0 * trained
    tokens, key = setup.tokens, model.key_value_heads * model.head_dim
    layer = model.hidden_size + 2 * key + 2 + 2 * model.intermediate_size
    depth = model.layers
    if setup.gradient_checkpointing:
        depth = 2 if setup.strategy == "full" else 1
    activations = tokens * layer * 2 * 1.25 * depth
    return (base + own + (states + 2) * trained + activations + 1.4e9) / GIB


RULES: Mapping[str, Rule] = {
    "LLaMA-Factory table": llama_factory,
    "LMFlow table": lmflow,
    "axolotl ranges": axolotl,
    "accelerate (4x)": accelerate,
    "18 bytes a parameter": eighteen_bytes,
    "Unsloth Studio": unsloth_studio,
}
