"""Makes a candidate, with its set-up and costs, or a rejection of a strategy on a base model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sweeper.data.long_rows import IN_WORDS
from sweeper.facts.record import Facts, HardwareFacts, ModelFacts, TrainingSetup
from sweeper.features import parts
from sweeper.memory.estimate import estimate
from sweeper.memory.states import trainable_parameters
from sweeper.planning.budget.study_phases import workload_of
from sweeper.planning.budget.trial_budget import Cap, sequence_cap
from sweeper.planning.costs.corrections import interval_factor
from sweeper.planning.costs.trial_seconds import Workload
from sweeper.planning.declared_parameters import settled_parameters, valid_reasons
from sweeper.planning.fitting import MARGIN, Fit, fit, too_large
from sweeper.planning.ranking import gap_reason, lower_default_effect, risk_of, setup_effect
from sweeper.planning.rulebook.apply_rules import RatedStrategy, rated_strategies
from sweeper.planning.rulebook.book import RuleBook
from sweeper.planning.rulebook.effects import fill
from sweeper.planning.rulebook.fact import Values
from sweeper.planning.rulebook.fact_table import fact_values
from sweeper.planning.rulebook.strategy_files import BookStrategy
from sweeper.plans import (
    Candidate,
    MemoryEstimate,
    Parameter,
    Quality,
    Reason,
    Rejected,
    Remedy,
)
from sweeper.spec import Spec

NOT_ASKED_FOR = "not among the requested strategies"
# Notes of the plan on the precision of a set-up.
FP16 = (
    "fp16-mixed: this card's tensor cores have no bfloat16, so products are in float16 and the "
    "loss is scaled; a step whose gradient overflows is skipped"
)
NO_HALF = (
    "fp32: this card has no bfloat16, and float16 is not offered for {of}; weights and "
    "activations take twice the memory"
)
PURE_BF16 = (
    "bf16-pure: there are no fp32 master weights, so an update below about 1/256 of a weight is "
    "lost in rounding (bfloat16 has 8 significant bits)"
)
# Appended to the reason of a parameter whose range the device's memory limits.
_NARROWED = " Higher values do not fit this device."
# Parameters with which memory grows and whose ranges the search may widen.
MEMORY_PARAMETERS = ("r", "num_virtual_tokens")


class RatedModel(NamedTuple):
    """A base model, its facts' values, its strategies after the rules, and its cap on tokens."""

    model: ModelFacts
    values: Values
    strategies: Mapping[str, RatedStrategy]
    cap: Cap


def rated_model(book: RuleBook, spec: Spec, facts: Facts, model: ModelFacts) -> RatedModel:
    """Apply the rules to the facts of a base model, and compute its cap on the tokens of a text."""
    values, cap = fact_values(spec, facts, model), sequence_cap(spec, facts, model)
    return RatedModel(model, values, rated_strategies(book, values), cap)


def candidate_or_rejected(
    spec: Spec,
    facts: Facts,
    base: RatedModel,
    rated: RatedStrategy,
    epochs: float,
    *,
    leave_out: bool,
) -> Candidate | Rejected:
    """The strategy as a candidate, or as rejected with the reason.

    Args:
        leave_out: Whether rules may leave out strategies that the user did not name.
    """
    name, wanted = rated.strategy.name, spec.aim.strategies
    if wanted is not None and name not in wanted:
        return _rejected(base, name, NOT_ASKED_FOR, "the request")
    if rated.refused is not None:
        why, rule, source = rated.refused
        return _rejected(base, name, why, source, rule=rule)
    gpus_per_trial, gpus = spec.training.gpus_per_trial, facts.hardware.gpus // facts.hardware.nodes
    if gpus_per_trial > max(gpus, 1):
        why = f"a trial would take {gpus_per_trial} GPUs, and a machine has {gpus}"
        return _rejected(base, name, why, "the request (--gpus-per-trial)")
    advice = rated.left_out
    if advice is not None and wanted is None and leave_out:
        why = fill(advice.why, base.values)
        return _rejected(base, name, why, advice.source, rule=advice.id, if_named=True)
    parameters = settled_parameters(spec, rated, epochs, base.values)
    room = base.model.context_length - base.cap.tokens
    prompt = parameters.get("num_virtual_tokens")
    # The most virtual tokens that the user declared must fit (``shipped`` is empty without a
    # declaration); otherwise, the fewest of the range.
    declared = (prompt.choices or (prompt.high or 0,)) if prompt and prompt.shipped else ()
    if prompt and max(map(float, declared or (prompt.low or 0,))) > room:
        why = (
            f"texts of {base.cap.tokens} tokens leave room for {room} virtual ones in a context "
            f"of {base.model.context_length}"
        )
        remedies = (Remedy(kind="length", text="shorter texts (--max-length)"),)
        return _rejected(base, name, why, "the model's context", remedies=remedies)
    parameters = limited(parameters, "num_virtual_tokens", room)
    workload = workload_of(spec, facts, base.model, epochs)
    ranges, chosen = _best_ranges(parameters, rated.strategy, base.model, spec, facts, workload)
    if not chosen.fits:
        return too_large(rated.strategy, base.model, chosen, facts)
    effect = lower_default_effect(_halvings(parameters, ranges))
    ranges = limit_widening(ranges, chosen, base.model, facts.hardware)
    candidate = _candidate(base, rated, facts, ranges, chosen, effect)
    for _, with_training_stage in parts.WITH_STAGE.all():
        candidate = with_training_stage(spec, facts, base.model, candidate, chosen.setup)
    return candidate


def _best_ranges(
    parameters: dict[str, Parameter],
    strategy: BookStrategy,
    model: ModelFacts,
    spec: Spec,
    facts: Facts,
    workload: Workload,
) -> tuple[dict[str, Parameter], Fit]:
    """The ranges of best quality for their time, with the fit; the narrowest if none fits."""
    tried = []
    for ranges in _narrowed(parameters):
        ranges_fit = fit(strategy, ranges, model, spec, facts, workload)
        tried.append((ranges, ranges_fit))
        setup = ranges_fit.setup
        slow = setup.gradient_checkpointing or setup.gradient_accumulation_steps > 1
        slow = slow or setup.optimizer.startswith("paged")
        if ranges_fit.fits and not slow and not setup_effect(setup).mean:
            break  # nothing is paid for memory, so narrower ranges gain nothing

    def order(option: tuple[dict[str, Parameter], Fit]) -> tuple[float, float]:
        ranges, ranges_fit = option
        effect = lower_default_effect(_halvings(parameters, ranges)).mean
        return ranges_fit.worth + effect, -ranges_fit.duration.seconds

    return max((option for option in tried if option[1].fits), key=order, default=tried[-1])


def _halvings(declared: Mapping[str, Parameter], ranges: Mapping[str, Parameter]) -> float:
    """How often the defaults of memory parameters were halved."""
    names = [name for name in MEMORY_PARAMETERS if name in declared]
    defaults = ((float(declared[name].default), float(ranges[name].default)) for name in names)
    return math.fsum(math.log2(before / after) for before, after in defaults)


def limited(parameters: Mapping[str, Parameter], name: str, most: float) -> dict[str, Parameter]:
    """The parameters, with the range and the allowed range of ``name`` limited to ``most``."""
    old = parameters.get(name)
    if old is None or old.allowed_high is None or old.allowed_high <= most:
        return dict(parameters)
    high = min(old.high if old.high is not None else most, most)
    default = min(float(old.default), high)
    update: dict[str, Any] = {
        "allowed_high": most,
        "high": high,
        "default": round(default) if old.kind == "int" else default,
    }
    return {**parameters, name: old.model_copy(update=update)}


def _narrowed(parameters: dict[str, Parameter]) -> Iterator[dict[str, Parameter]]:
    """The parameters unchanged, then with the upper ends of memory parameters halved in turn.

    A parameter that is not searched begins at its default. A range that the user declared (its
    ``shipped`` is not empty) stays as it is.
    """
    yield parameters
    for name in MEMORY_PARAMETERS:
        old = parameters.get(name)
        if old is None or old.shipped or old.high is None or old.low is None:
            continue
        narrow = old.model_copy(update={"why": old.why + _NARROWED})
        most = old.high if old.searched else float(old.default)
        while most > old.low:
            most = max(most // 2, old.low)
            parameters = limited(parameters | {name: narrow}, name, most)
            yield parameters


def limit_widening(
    parameters: Mapping[str, Parameter],
    fit_on_device: Fit,
    model: ModelFacts,
    hardware: HardwareFacts,
) -> dict[str, Parameter]:
    """The parameters, with allowed ranges of memory parameters limited to what fits the device.

    The best-practice range already fits. The allowed upper end is halved until it fits.
    """
    limited_parameters = dict(parameters)
    for name in MEMORY_PARAMETERS:
        parameter = limited_parameters.get(name)
        if parameter is None or not parameter.searched:
            continue
        if parameter.high is None or parameter.allowed_high is None:
            continue
        most = parameter.allowed_high
        while most > parameter.high:
            setup = fit_on_device.heaviest_setup.replace(**{name: int(most)})
            if estimate(model, setup, hardware.memory_gib).high_gib <= hardware.memory_gib:
                break
            most = max(float(int(most) // 2), parameter.high)
        limited_parameters = limited(limited_parameters, name, most)
    return limited_parameters


def _rejected(base: RatedModel, name: str, why: str, source: str, **fields: Any) -> Rejected:
    return Rejected(strategy=name, model=base.model.id, reason=why, source=source, **fields)


def _candidate(
    base: RatedModel,
    rated: RatedStrategy,
    facts: Facts,
    parameters: dict[str, Parameter],
    fit_on_device: Fit,
    default_effect: Quality,
) -> Candidate:
    """The candidate with this fit. A gap is a difference of quality from LoRA.

    Args:
        default_effect: Effect of lowered defaults on quality.
    """
    setup, strategy = fit_on_device.setup, rated.strategy
    gaps = [gap for _, own in parts.OWN_GAPS.all() for gap in own(facts, base.model, strategy.name)]
    of_own_runs = gap_reason(gaps, strategy.quality.sd)
    quality, reasons = rated.quality, rated.reasons
    if of_own_runs is not None and of_own_runs.gap is not None:
        quality, reasons = Quality.pooled([quality, of_own_runs.gap]), [*reasons, of_own_runs]
    quality = quality.plus(setup_effect(setup)).plus(default_effect)
    return Candidate(
        setup=TrainingSetup.taken_from(setup),
        attention=setup.attention,
        strategy=strategy.name,
        model=base.model.id,
        quality=quality.widened(interval_factor(facts, "strategy-gap")),
        risk=risk_of(fit_on_device.heaviest),
        reasons=valid_reasons(_widened(reasons, facts), parameters),
        cautions=valid_reasons(rated.cautions, parameters),
        memory=_rounded(fit_on_device.memory),
        least_gib=math.ceil(fit_on_device.least_gib * 10) / 10,
        duration=fit_on_device.duration,
        begins_as_base=strategy.begins_as_base,
        one_trial=strategy.traits.one_trial,
        trainable_parameters=trainable_parameters(base.model, setup),
        expected_quality=strategy.quality.text,
        quality_source=strategy.quality.source,
        setup_notes=_setup_notes(base, strategy, facts.hardware, fit_on_device),
        parameters=parameters,
    )


def _fp16_note(base: RatedModel, hardware: HardwareFacts, fit_on_device: Fit) -> tuple[str, ...]:
    """A note on fp16-mixed or fp32 on a GPU without bfloat16; empty on other devices."""
    if hardware.device == "cpu" or hardware.bf16:
        return ()
    if fit_on_device.setup.precision == "fp16-mixed":
        return (FP16,)
    model_or_card = f"{base.model.model_type}, whose activations exceed float16's range"
    model_or_card = model_or_card if hardware.fp16_tflops else "cards without tensor cores"
    return (NO_HALF.format(of=model_or_card),) if fit_on_device.setup.precision == "fp32" else ()


def _widened(reasons: Sequence[Reason], facts: Facts) -> list[Reason]:
    """The reasons; their gaps' intervals are widened by how far earlier runs fell outside them."""
    factor = interval_factor(facts, "rule-gap")
    return [
        reason.model_copy(update={"gap": reason.gap.widened(factor)}) if reason.gap else reason
        for reason in reasons
    ]


def _rounded(memory: MemoryEstimate) -> MemoryEstimate:
    """An estimate rounded to 0.001 GiB, so that rounding errors do not make plans differ."""
    ends = {name: round(getattr(memory, name), 3) for name in ("peak_gib", "low_gib", "high_gib")}
    parts = {name: round(gib, 3) for name, gib in memory.parts.items()}
    return memory.model_copy(update={**ends, "parts": parts})


def _setup_notes(
    base: RatedModel, strategy: BookStrategy, hardware: HardwareFacts, fit_on_device: Fit
) -> tuple[str, ...]:
    """Notes on the cap, the memory, the optimizer and the precision of a set-up."""
    heaviest = fit_on_device.heaviest
    pure = (PURE_BF16,) if fit_on_device.setup.precision == "bf16-pure" else ()
    optimizer = fit_on_device.setup.optimizer
    states = (
        f"optimizer {optimizer}: {smaller.why} ({smaller.source})"
        for smaller in strategy.smaller_optimizers
        if smaller.use == optimizer
    )
    return (
        f"texts of at most {base.cap.tokens} tokens: {base.cap.why}"
        f"{f'; {base.cap.longer} {IN_WORDS[base.cap.becomes]}' if base.cap.longer else ''}",
        f"memory: the largest configuration of the range takes {heaviest.peak_gib:.1f} GiB "
        f"(up to {heaviest.high_gib:.1f}) of {round(heaviest.limit_gib, 1):g} GiB; {MARGIN}",
        *states,
        *pure,
        *_fp16_note(base, hardware, fit_on_device),
    )
