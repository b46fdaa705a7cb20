"""Corrects predicted times and peak memory by earlier trainings on this machine.

Each measurement, which is part of the facts, is compared with the formula's value for its set-up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from sweeper.facts.machine.measured import shape_of
from sweeper.facts.record import Facts, HardwareFacts, Measured, ModelFacts
from sweeper.features import parts
from sweeper.memory.estimate import estimate, trial_gib
from sweeper.memory.setup import Setup
from sweeper.planning.costs.setups import measured_setup
from sweeper.planning.costs.step_time import Speed, evaluation, step_seconds
from sweeper.plans import MemoryEstimate
from sweeper.traits.traits import find


def interval_factor(facts: Facts, prediction: str) -> float:
    """The factor by which features widen the interval of a prediction, at least 1."""
    return math.prod(widen(facts, prediction) for _, widen in parts.WIDEN.all())


def shrunk_to_half(probability: float, factor: float) -> float:
    """A probability whose distance from a half is divided by the factor.

    >>> shrunk_to_half(0.9, 2.0)
    0.7
    """
    return round(0.5 + (probability - 0.5) / factor, 4)


class MemoryFactors(NamedTuple):
    """Factors, at least 1, by which features widen the interval of memory downwards and upwards."""

    low: float
    high: float

    @classmethod
    def of(cls, facts: Facts) -> MemoryFactors:
        """The factors for the facts of a plan."""
        return cls(interval_factor(facts, "memory-low"), interval_factor(facts, "memory-high"))

    def widened(self, memory: MemoryEstimate) -> MemoryEstimate:
        """The estimate with a wider interval, except of overhead that trials do not measure."""
        if max(self) <= 1:
            return memory
        overhead = memory.peak_gib - trial_gib(memory)
        low = overhead + (memory.low_gib - overhead) / self.low
        high = overhead + (memory.high_gib - overhead) * self.high
        note = f"interval widened after trials here: low / {self.low:.2g}, high x {self.high:.2g}"
        update = {"low_gib": low, "high_gib": high, "assumptions": (*memory.assumptions, note)}
        return memory.model_copy(update=update)


class Correction(NamedTuple):
    """Factors on the formula's seconds.

    Args:
        source: Text on the measurements; empty without any.
    """

    training: float = 1.0
    evaluation: float = 1.0
    source: str = ""


def correction_for(
    model: ModelFacts, setup: Setup, hardware: HardwareFacts, speed: Speed
) -> Correction:
    """The correction for a set-up from measurements of its architecture.

    Measurements of other strategies are used only if the same strategy has none. Steps to which
    features add work are compared with measured steps of the same kind, or with plain steps if
    there are none.
    """
    if not hardware.measured:
        return Correction()
    through, cores = setup.traits.gradients_through_base, hardware.cpu_cores or 1
    arguments = model, setup.strategy, through, setup.precision, setup.classes, speed, cores
    added = _added_work(setup)
    alike = tuple(m for m in hardware.measured if _added_work(m) == added)
    correction = _correction(*arguments, alike)
    if correction.source or not any(added):
        return correction
    plain = tuple(m for m in hardware.measured if not any(_added_work(m)))
    return _correction(*arguments, plain)


def _added_work(setup: Setup | Measured) -> tuple[bool, bool]:
    """Whether features add tokens to a step, and whether they add outputs of the base."""
    return setup.extra.further_share > 0, setup.extra.reference


@lru_cache(maxsize=256)
def _correction(
    model: ModelFacts,
    strategy: str,
    gradients_through_base: bool,
    precision: str,
    classes: int,
    speed: Speed,
    cores: int,
    measured: tuple[Measured, ...],
) -> Correction:
    alike = [
        m for m in measured if _is_comparable(m, model, classes) and m.setup.precision == precision
    ]
    of_strategy = [m for m in alike if m.strategy == strategy]
    # Probes lack the Trainer's own time, so they are used only without a training.
    of_strategy = [m for m in of_strategy if m.probe is None] or of_strategy
    trained = _with_time(of_strategy) or (_with_time(alike) if gradients_through_base else [])
    scored = [m for m in of_strategy if m.seconds_per_item]
    scored = scored or [m for m in alike if m.seconds_per_item]
    device = "cpu" if math.isinf(speed.bandwidth) else "cuda"

    def case(m: Measured) -> tuple[Setup, Speed]:
        own_speed = speed.on(m.threads / cores) if m.threads else speed
        return measured_setup(m, classes, device), own_speed

    step_ratios = ((m.seconds_per_step or 0.0) / step_seconds(model, *case(m)) for m in trained)
    item_ratios = ((m.seconds_per_item or 0.0) / _item_seconds(model, m, *case(m)) for m in scored)
    return Correction(
        training=_mean([*step_ratios], trained),
        evaluation=_mean([*item_ratios], scored),
        source=_source(trained, strategy),
    )


def _is_comparable(measured: Measured, model: ModelFacts, classes: int) -> bool:
    """Whether a measurement is of this architecture and kind of head (classes or vocabulary)."""
    noted = measured.classes
    same = measured.shape == shape_of(model) and (noted is None or bool(noted) == bool(classes))
    # A strategy whose package is no longer installed has no formula to compare with.
    return same and find(measured.strategy) is not None


def _with_time(measured: Iterable[Measured]) -> list[Measured]:
    """Measurements of the time of a step."""
    return [m for m in measured if m.seconds_per_step and not m.out_of_memory]


def _item_seconds(model: ModelFacts, measured: Measured, setup: Setup, speed: Speed) -> float:
    """Seconds to score an item of a measurement, by the formula."""
    work = evaluation(model, setup, measured.setup.evaluation_batch, measured.mean_length)
    return speed.seconds(work) / measured.setup.evaluation_batch


def _mean(ratios: Sequence[float], measured: Sequence[Measured]) -> float:
    """The geometric mean of the ratios, weighted by numbers of trainings; 1 without ratios."""
    weights = [m.trainings for m in measured]
    if not ratios:
        return 1.0
    logs = math.fsum(w * math.log(r) for w, r in zip(weights, ratios, strict=True))
    return math.exp(logs / sum(weights))


def _source(measured: Sequence[Measured], strategy: str) -> str:
    """Text on the measurements of steps; empty without any."""
    if not measured:
        return ""
    count = sum(m.trainings for m in measured)
    others = {m.strategy for m in measured} - {strategy}
    what = f"{', '.join(sorted(others))} of this model" if others else strategy
    low = min(m.seconds_per_step or 0.0 for m in measured)
    high = max(m.seconds_per_step or 0.0 for m in measured)
    span = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
    noun = "training" if any(m.probe is None for m in measured) else "probe"
    when = max(m.when for m in measured)
    return f"measured here on {when}: {count} {noun}{'s' * (count > 1)} of {what}, {span} s a step"


def ran_out(model: ModelFacts, setup: Setup, hardware: HardwareFacts) -> bool:
    """Whether this set-up, or one that needs no more memory, ran out of memory here."""
    return any(
        m.out_of_memory
        and m.setup.precision == setup.precision
        and m.setup.quantization == setup.quantization
        and m.setup.gradient_checkpointing >= setup.gradient_checkpointing
        and m.setup.micro_batch <= setup.micro_batch
        and m.setup.sequence_length <= setup.sequence_length
        for m in _of_strategy(hardware, model, setup)
    )


def _of_strategy(hardware: HardwareFacts, model: ModelFacts, setup: Setup) -> list[Measured]:
    """Measurements of this architecture and strategy whose steps keep no more than the set-up's.

    Steps that compare with outputs of the base keep more.
    """
    alike = [m for m in hardware.measured if _is_comparable(m, model, setup.classes)]
    alike = [m for m in alike if m.strategy == setup.strategy]
    return [m for m in alike if m.extra.reference <= setup.extra.reference]


def with_measured_peak(
    memory: MemoryEstimate, model: ModelFacts, setup: Setup, hardware: HardwareFacts
) -> MemoryEstimate:
    """The estimate, raised if a training here needed more than the formula predicts.

    It is never lowered, since a later peak may be higher.
    """
    ratios = [
        (m.peak_gib or 0.0) / trial_gib(estimate(model, _at_cap(m, setup), memory.limit_gib))
        for m in _of_strategy(hardware, model, setup)
        if m.peak_gib
    ]
    factor = max(ratios, default=1.0)
    if factor <= 1.0:
        return memory
    more = (factor - 1.0) * trial_gib(memory)
    raised = {name: getattr(memory, name) + more for name in ("peak_gib", "low_gib", "high_gib")}
    note = f"trainings here needed {factor:.2g} times what the formula says"
    parts = {**memory.parts, "measured here": more}
    assumptions = (*memory.assumptions, note)
    return memory.model_copy(update={**raised, "parts": parts, "assumptions": assumptions})


def _at_cap(measured: Measured, setup: Setup) -> Setup:
    """The measured set-up at its longest texts, which cause the peak.

    Padding and the share of answers are not measured, and taken from ``setup``.
    """
    at_mean = measured_setup(measured, setup.classes, setup.device)
    cap = measured.setup.sequence_length
    return at_mean.replace(
        sequence_length=cap,
        evaluation_length=cap,
        padded=setup.padded,
        answer_fraction=setup.answer_fraction,
    )
