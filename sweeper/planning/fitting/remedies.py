"""Why a strategy does not fit, in numbers, and the cheapest change that would make it fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sweeper import units
from sweeper.facts.machine import gpus
from sweeper.facts.record import Facts, HardwareFacts, ModelFacts
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.planning.costs.corrections import MemoryFactors
from sweeper.planning.fitting.fit import Fit
from sweeper.planning.rulebook.strategy_files import BookStrategy
from sweeper.plans import Rejected, Remedy
from sweeper.traits.traits import quantized_variants

MIN_TOKENS = 64
BITS = {"nf4": 4, "nf4-dq": 4, "int8": 8, "int4": 4}
# Largest number of GPUs that a remedy lists.
_MAX_GPUS_LISTED = 3


def too_large(strategy: BookStrategy, model: ModelFacts, fitted: Fit, facts: Facts) -> Rejected:
    """The rejection of a strategy whose smallest set-up does not fit."""
    setup, need, hardware = fitted.setup, fitted.heaviest.high_gib, facts.hardware
    reason = (
        f"needs {fitted.heaviest.peak_gib:.1f} GiB (up to {need:.1f}), the device has "
        f"{hardware.memory_gib:.3g} (smallest set-up: "
        f"{setup.precision}, {setup.optimizer}, micro-batch {setup.micro_batch}, "
        f"{setup.sequence_length} tokens"
        f"{', checkpointing' if setup.gradient_checkpointing else ''})"
    )
    return Rejected(
        strategy=strategy.name,
        model=model.id,
        reason=reason,
        source="the memory formula",
        needs_gib=round(need, 2),
        peak_gib=round(fitted.heaviest.peak_gib, 2),
        has_gib=hardware.memory_gib,
        remedies=tuple(remedies(model, fitted.heaviest_setup, hardware, MemoryFactors.of(facts))),
    )


def remedies(
    model: ModelFacts, setup: Setup, hardware: HardwareFacts, ends: MemoryFactors
) -> list[Remedy]:
    """Changes that would each make the heaviest configuration fit, the cheapest first."""
    limit = hardware.memory_gib
    changes: list[Remedy] = []

    def need(model: ModelFacts, setup: Setup) -> float:
        return ends.widened(estimate(model, setup, limit)).high_gib

    def fits(**change: Any) -> bool:
        return need(model, setup.replace(**change)) <= limit

    if "r" in setup.traits.parameters() and (rank := _halved(setup.r, 1, lambda r: fits(r=r))):
        changes.append(Remedy(kind="rank", text=f"ranks up to {rank}"))
    if length := _halved(
        setup.sequence_length, MIN_TOKENS, lambda n: fits(sequence_length=n, evaluation_length=n)
    ):
        changes.append(Remedy(kind="length", text=f"texts cut at {length} tokens"))
    for other in quantized_variants(setup.strategy):
        if fits(strategy=other.name, quantization=other.quantization):
            text = f"a base in {BITS[str(other.quantization)]} bits ({other.name})"
            changes.append(Remedy(kind="quantization", text=text))
    gib = need(model, setup)
    if hardware.device == "cpu":
        text = f"a machine with {math.ceil(gib)} GiB of memory"
        changes.append(Remedy(kind="machine", text=text))
    elif cards := _cards(gib, setup.precision):
        changes.append(Remedy(kind="gpus", text=f"a GPU with {cards}"))
    return changes + _smaller_model(model, lambda small: need(small, setup) <= limit)


def _cards(need: float, precision: str) -> str:
    """Text with the smallest sufficient memory of a GPU and GPUs that have it; empty if none
    has."""
    able = [card for card in gpus.table().values() if card.bf16_tflops or "bf16" not in precision]
    size = min((card.memory_gib for card in able if card.memory_gib >= need), default=None)
    if size is None:
        return ""
    names: list[str] = []
    for card in able:  # without variants of a listed GPU
        if card.memory_gib == size and not any(card.name.startswith(f"{name} ") for name in names):
            names.append(card.name)
    # Rounded up, so that the number is enough when it is typed.
    return f"{math.ceil(size * 10) / 10:g} GiB ({', '.join(names[:_MAX_GPUS_LISTED])})"


def _halved(value: int, least: int, fits: Callable[[int], bool]) -> int | None:
    """The first of a half, a quarter, ... of a value that fits; None if it would be below
    ``least``."""
    while (value := value // 2) >= least:
        if fits(value):
            return value
    return None


def scaled(model: ModelFacts, share: float) -> ModelFacts:
    """A model of the same shape with about that share of the parameters.

    Width and depth shrink together, as in the families that come in several sizes.
    """
    factor = share ** (1 / 3)
    heads = max(round(model.attention_heads * factor), 1)
    ratio = heads / model.attention_heads
    change = {
        "parameters": max(int(model.parameters * share), 1),
        "layers": max(round(model.layers * factor), 1),
        "hidden_size": max(round(model.hidden_size * ratio), 8),
        "attention_heads": heads,
        "key_value_heads": max(round(model.key_value_heads * ratio), 1),
        "intermediate_size": max(round(model.intermediate_size * ratio), 8),
    }
    return model.model_copy(update=change)


def _smaller_model(model: ModelFacts, fits: Callable[[ModelFacts], bool]) -> list[Remedy]:
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(scaled(model, middle)) else (low, middle)
    if low < 0.02:
        return []
    most = low * model.parameters
    step = 10 ** (math.floor(math.log10(most)) - 1)  # two digits, rounded down
    count = units.count(math.floor(most / step) * step)
    return [Remedy(kind="model", text=f"a model of the same shape with up to {count} parameters")]


def nearest_fit(facts: Facts, rejected: Sequence[Rejected]) -> tuple[str, str]:
    """A sentence on the strategy nearest to fitting, with remedies; and an empty reason.

    If none is too large, a sentence on the most common reason of rejection, and that reason.
    """
    models = " or ".join(dict.fromkeys(model.id for model in facts.models))
    large = [item for item in rejected if None not in (item.needs_gib, item.peak_gib)]
    if not large:
        ((why, _),) = Counter(rejection.reason for rejection in rejected).most_common(1)
        text = f"No strategy can be used for {models} on task {facts.task}: {why.rstrip('.')}."
        return text, why
    rejection = min(large, key=lambda item: item.needs_gib or math.inf)
    many = f" for {rejection.model}" if len(facts.models) > 1 else ""
    ways = " or ".join(way.text for way in rejection.remedies if way.kind in ("machine", "gpus"))
    need = f"{units.gib(rejection.peak_gib)} to {units.gib(rejection.needs_gib)}"
    least = f"{rejection.strategy}{many} needs least, {need}{f': {ways}' if ways else ''}"
    return f"Nothing fits {models} on {machine_name(facts.hardware)}; {least}.", ""


def machine_name(hardware: HardwareFacts) -> str:
    """A short name of the machine, with its memory."""
    if hardware.device == "cpu":
        return f"a CPU with {hardware.memory_gib:.0f} GiB"
    count = "one" if hardware.gpus == 1 else f"{hardware.gpus} x"
    return f"{count} {hardware.memory_gib:.3g} GiB GPU{'s' if hardware.gpus > 1 else ''}"
