"""Chooses the set-up with which a strategy fits the device, or says what would make it fit.

Of the set-ups that fit, the one with the best quality for its time is chosen.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from sweeper import units
from sweeper.facts.machine import gpus
from sweeper.facts.record import Facts, HardwareFacts, ModelFacts
from sweeper.hyperparameters import BATCH, OPTIMIZER
from sweeper.memory.estimate import estimate, phases
from sweeper.memory.setup import Setup
from sweeper.planning.costs.corrections import MemoryFactors, ran_out, with_measured_peak
from sweeper.planning.costs.setups import setup_fields
from sweeper.planning.costs.step_time import speed_of
from sweeper.planning.costs.trial_seconds import Workload, formula_duration
from sweeper.planning.ranking import setup_effect, time_cost
from sweeper.planning.rulebook.strategy_files import BookStrategy
from sweeper.plans import Duration, MemoryEstimate, Parameter, Precision, Rejected, Remedy
from sweeper.spec import Scalar, Spec, TrainingSpec
from sweeper.traits.traits import quantized_variants

# The plan's note on the margin of memory: a set-up fits if the upper end of its 90% interval does,
# so about one prediction in twenty is still too low.
MARGIN = "the number in brackets, the upper end of the 90% interval, must fit the device"

# Largest factor from the micro-batch to the batch of evaluation, which keeps no gradients.
EVALUATION_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Fit:
    """The set-up that was chosen for a strategy, with its memory and time.

    Args:
        setup: Set-up of the default configuration.
        heaviest_setup: The same for the configuration of the best-practice ranges that needs the
            most memory (the heaviest configuration).
        memory: Memory of the defaults.
        heaviest: Memory of ``heaviest_setup``.
        fits: Whether ``heaviest_setup`` fits the device.
        worth: The effect of the set-up on quality, minus the cost of its time, in points.
        least_gib: Least memory in which the heaviest configuration fits, by any set-up.
    """

    setup: Setup
    heaviest_setup: Setup
    memory: MemoryEstimate
    heaviest: MemoryEstimate
    duration: Duration
    fits: bool
    worth: float
    least_gib: float


def fit(
    strategy: BookStrategy,
    parameters: Mapping[str, Parameter],
    model: ModelFacts,
    spec: Spec,
    facts: Facts,
    workload: Workload,
) -> Fit:
    """The set-up of highest worth that fits; if none fits, the smallest, with ``fits`` False.

    Memory is computed for a batch of texts at the cap, time for texts of mean length. Worth does
    not depend on the device's memory, so more memory never gives a worse set-up.
    """
    hardware, training = facts.hardware, spec.training
    # Training does not mask the padding of a causal model, so its memory is as without padding.
    fields: dict[str, Any] = {"padded": model.kind != "decoder"}
    fields |= setup_fields(strategy.traits, {name: p.default for name, p in parameters.items()})
    base = Setup(
        strategy=strategy.name,
        sequence_length=workload.longest,
        quantization=strategy.quantization,
        classes=workload.classes,
        answer_fraction=workload.answer_fraction,
        evaluation_length=workload.longest,
        device=hardware.device,
        gpus=training.gpus_per_trial if strategy.traits.gradients_through_base else 1,
        loss="by-rows",
        **fields,
    )
    heaviest_fields = _heaviest_fields(base, parameters, model)
    if OPTIMIZER in parameters:  # the user declared an optimizer, so no other is tried
        strategy = strategy.model_copy(update={"smaller_optimizers": ()})
    task = _FittingTask(heaviest_fields, model, hardware, workload, MemoryFactors.of(facts))
    groups = [
        (effect, [list(_with_batches(setup, parameters)) for setup in setups])
        for effect, setups in _setups_by_effect(base, strategy, model, training, hardware)
    ]
    smallest: _TriedSetup | None = None
    best: tuple[tuple[float, float, bool, int], _TriedSetup] | None = None
    for effect, batches_of_setups in groups:
        if best is not None and effect <= best[0][0]:
            break  # worth is at most the effect
        for setup in chain.from_iterable(map(task.promising, batches_of_setups)):
            tried = task.tried(setup)
            if smallest is None or tried.heaviest.high_gib <= smallest.heaviest.high_gib:
                smallest = tried  # with equal memory, the smaller batch
            if tried.fits:
                tried = task.with_evaluation(tried)
                seconds = task.duration(tried).seconds
                worth = effect - time_cost(seconds, spec.aim.points_per_doubling)
                order = worth, -seconds, not setup.gradient_checkpointing, setup.micro_batch
                if best is None or order > best[0]:
                    best = order, tried
    worth, chosen = (best[0][0], best[1]) if best is not None else (0.0, smallest)
    assert chosen is not None
    last = (batches[-1] for _, batches_of_setups in groups for batches in batches_of_setups)
    smallest_batches = (setup.replace(**heaviest_fields) for setup in last)
    return Fit(
        setup=chosen.setup,
        heaviest_setup=chosen.heaviest_setup,
        memory=task.memory(chosen.setup),
        heaviest=chosen.heaviest,
        duration=task.duration(chosen),
        fits=chosen.fits,
        worth=worth,
        least_gib=min(task.memory(setup).high_gib for setup in smallest_batches),
    )


class _TriedSetup(NamedTuple):
    """A set-up, and whether its heaviest configuration fits the device."""

    setup: Setup
    heaviest_setup: Setup
    heaviest: MemoryEstimate
    fits: bool


class _FittingTask(NamedTuple):
    """Everything that decides whether a set-up fits, except the set-up.

    Args:
        heaviest_fields: Fields of a set-up that the heaviest configuration changes.
    """

    heaviest_fields: Mapping[str, Any]
    model: ModelFacts
    hardware: HardwareFacts
    workload: Workload
    memory_factors: MemoryFactors

    def memory(self, setup: Setup) -> MemoryEstimate:
        predicted = estimate(self.model, setup, self.hardware.memory_gib)
        predicted = with_measured_peak(predicted, self.model, setup, self.hardware)
        return self.memory_factors.widened(predicted)

    def promising(self, batches: list[Setup]) -> list[Setup]:
        """A set-up's micro-batches, largest first, without those that cannot fit.

        If the smallest does not fit, only the largest may, as it accumulates no gradients. All are
        tried if there are measured peaks, since a peak was measured at one micro-batch.
        """
        if len(batches) < 3 or self.hardware.measured or self.tried(batches[-1]).fits:
            return batches
        return [batches[0], batches[-1]]

    def tried(self, setup: Setup) -> _TriedSetup:
        batch = min(setup.evaluation_batch, self.workload.validation_rows)
        if batch < setup.evaluation_batch:
            setup = setup.replace(evaluation_batch=batch)
        heaviest_setup = setup.replace(**self.heaviest_fields)
        heaviest = self.memory(heaviest_setup)
        fits = heaviest.high_gib <= self.hardware.memory_gib
        fits = fits and not ran_out(self.model, heaviest_setup, self.hardware)
        return _TriedSetup(setup, heaviest_setup, heaviest, fits)

    def duration(self, tried: _TriedSetup) -> Duration:
        typical = tried.setup.replace(
            sequence_length=self.workload.item_tokens,
            evaluation_length=self.workload.item_tokens,
            answer_fraction=1.0,  # measured speeds include the whole output
        )
        speed = speed_of(self.hardware, typical)
        return formula_duration(self.model, typical, speed, self.workload)

    def with_evaluation(self, tried: _TriedSetup) -> _TriedSetup:
        """The same set-up with the largest batch of evaluation that still fits."""
        factor = EVALUATION_FACTOR
        while factor > 1:
            batch = tried.setup.micro_batch * factor
            larger = self.tried(tried.setup.replace(evaluation_batch=batch))
            if larger.fits:
                return larger
            factor //= 2
        return tried


# Model types whose activations exceed the range of float16 (65,504): T5 (transformers
# documentation, T5, and its clamp in modeling_t5.py), Gemma 2 and 3 (Unsloth,
# https://unsloth.ai/blog/gemma3).
_WIDE_ACTIVATIONS = ("t5", "mt5", "gemma2", "gemma3")


def precisions(
    hardware: HardwareFacts, training: TrainingSpec, model_type: str = ""
) -> tuple[Precision, ...]:
    """Precisions in order of preference: the user's, else the safest that the device supports.

    bf16-pure comes last, since it has no fp32 master weights for small updates. GPUs whose tensor
    cores have no bfloat16 use fp16-mixed, for models whose activations fit the range of float16.
    """
    if training.precision is not None:
        return (training.precision,)
    if hardware.bf16:
        return ("bf16-mixed", "bf16-pure")
    wide = model_type.startswith(_WIDE_ACTIVATIONS)
    return ("fp16-mixed",) if hardware.fp16_tflops and not wide else ("fp32",)


def _setups_by_effect(
    base: Setup,
    strategy: BookStrategy,
    model: ModelFacts,
    training: TrainingSpec,
    hardware: HardwareFacts,
) -> Iterator[tuple[float, list[Setup]]]:
    """The set-ups to try, grouped by their effect on quality in points, the best effect first.

    The usual optimizer comes first in a group, and is chosen if others are as good and as fast.
    """
    chosen = training.gradient_checkpointing if strategy.gradient_checkpointing else False
    checkpointing = (False, True) if chosen is None else (chosen,)
    smaller = [option.use for option in strategy.smaller_optimizers]
    allowed_precisions = precisions(hardware, training, model.model_type)
    if hardware.device == "cpu":  # it has no other memory, to which states could be paged
        smaller = [name for name in smaller if not name.startswith("paged")]
        if not strategy.traits.gradients_through_base:
            allowed_precisions = ("fp32",)  # the untrained base is scored in fp32 too
    setups = [
        base.replace(precision=precision, optimizer=optimizer, gradient_checkpointing=flag)
        for precision in allowed_precisions
        for optimizer in (base.optimizer, *smaller)
        for flag in checkpointing
    ]
    by_effect: dict[float, list[Setup]] = {}
    for setup in setups:
        by_effect.setdefault(setup_effect(setup).mean, []).append(setup)
    yield from sorted(by_effect.items(), reverse=True)


def _with_batches(setup: Setup, parameters: Mapping[str, Parameter]) -> Iterator[Setup]:
    """The set-up with each micro-batch that divides a GPU's share of the default batch, largest
    first."""
    parameter = parameters.get(BATCH)
    micro = share = max((int(parameter.default) if parameter else 32) // setup.gpus, 1)
    while micro >= 1:
        if share % micro == 0:
            batches = {"micro_batch": micro, "evaluation_batch": micro}
            yield setup.replace(**batches, gradient_accumulation_steps=share // micro)
        micro //= 2


def _heaviest_fields(
    base: Setup, parameters: Mapping[str, Parameter], model: ModelFacts
) -> dict[str, Any]:
    """The set-up's fields in the configuration of the ranges that needs the most memory.

    One parameter after another is set to the value that needs the most.
    """

    def need(fields: Mapping[str, Any]) -> float:
        # Summed over all phases of a step, since the phase with the peak depends on the batch.
        return sum(phase.total for phase in phases(model, base.replace(**fields)))

    values: dict[str, Scalar] = {name: parameter.default for name, parameter in parameters.items()}
    heaviest = setup_fields(base.traits, values)
    most = need(heaviest)
    for name, parameter in parameters.items():
        ends = [end for end in (parameter.low, parameter.high) if end is not None]
        for value in (parameter.choices or ends) if parameter.searched else ():
            fields = setup_fields(base.traits, values | {name: value})
            if fields != heaviest and (needed := need(fields)) > most:
                values[name], heaviest, most = value, fields, needed
    return heaviest


# Shortest length of texts that a remedy names, in tokens.
MIN_TOKENS = 64
# Bits of a weight in each quantisation.
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
    model: ModelFacts, setup: Setup, hardware: HardwareFacts, memory_factors: MemoryFactors
) -> list[Remedy]:
    """Changes that would each make the heaviest configuration fit, the cheapest first."""
    limit = hardware.memory_gib
    changes: list[Remedy] = []

    def need(model: ModelFacts, setup: Setup) -> float:
        return memory_factors.widened(estimate(model, setup, limit)).high_gib

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
    """The smallest sufficient memory of a GPU and GPUs that have it, as text; empty if none has."""
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
    """The first of a half, a quarter, ... of a value that fits; None if none from ``least`` on
    does."""
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
    """The remedy of a model of the same shape with fewer parameters; empty if none fits."""
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(scaled(model, middle)) else (low, middle)
    if low < 0.02:  # too far from the named model to be a remedy
        return []
    most = low * model.parameters
    step = 10 ** (math.floor(math.log10(most)) - 1)  # two digits, rounded down
    count = units.count(math.floor(most / step) * step)
    return [Remedy(kind="model", text=f"a model of the same shape with up to {count} parameters")]


def nearest_fit(facts: Facts, rejected: Sequence[Rejected]) -> tuple[str, str]:
    """A sentence on the strategy that comes nearest to fitting, and an empty text.

    If none is too large: a sentence on the most common reason of rejection, and that reason.
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
