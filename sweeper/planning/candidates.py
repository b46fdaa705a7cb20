"""One pair of model and strategy: a candidate with its set-up and costs, or rejected."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sweeper.data.long_rows import IN_WORDS
from sweeper.facts.record import Facts, HardwareFacts, ModelFacts
from sweeper.features import parts
from sweeper.memory.estimate import estimate
from sweeper.planning.budget.candidate_costs import workload_of
from sweeper.planning.budget.sequence_cap import Cap, sequence_cap
from sweeper.planning.costs.corrections import interval_factor
from sweeper.planning.declared_parameters import followed, settled_parameters
from sweeper.planning.fitting.fit import MARGIN, Fit, fit
from sweeper.planning.fitting.remedies import too_large
from sweeper.planning.ranking import gap_reason, risk_of, setup_loss
from sweeper.planning.rulebook.apply_rules import RatedStrategies, RatedStrategy
from sweeper.planning.rulebook.book import RuleBook
from sweeper.planning.rulebook.effects import fill
from sweeper.planning.rulebook.fact import Values
from sweeper.planning.rulebook.fact_table import fact_values
from sweeper.planning.rulebook.strategy_files import BookStrategy
from sweeper.plans import Candidate, MemoryEstimate, Parameter, Quality, Rejected, Remedy
from sweeper.spec import Spec

NOT_ASKED_FOR = "not among the requested strategies"
FP16 = (
    "fp16-mixed: this card's tensor cores have no bfloat16, so products are in float16 and the "
    "loss is scaled; a step whose gradient overflows is skipped"
)
NO_HALF = (
    "fp32: this card has no bfloat16, and float16 is not offered for {why}; weights and "
    "activations take twice the memory"
)
PURE_BF16 = (
    "bf16-pure: there are no fp32 master weights, so an update below about 1/256 of a weight is "
    "lost in rounding (bfloat16 has 8 significant bits)"
)
# A range is narrowed where that makes trials faster by more than this factor.
_SLOWER = 1.1
_NARROWED = " Higher values do not fit this device."
# Numbers that memory grows with and that the search may widen.
GROWING = ("r", "num_virtual_tokens")


class RatedModel(NamedTuple):
    """One of the base models, with every strategy after the rules."""

    model: ModelFacts
    values: Values
    strategies: RatedStrategies
    cap: Cap


def rated_model(book: RuleBook, spec: Spec, facts: Facts, model: ModelFacts) -> RatedModel:
    """One of the base models, with its facts, the rules' verdicts and its sequence cap."""
    values = fact_values(spec, facts, model)
    return RatedModel(
        model, values, RatedStrategies(book, values), sequence_cap(spec, facts, model)
    )


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
    made = fitted(spec, facts, base, rated, epochs, leave_out=leave_out)
    if isinstance(made, Rejected):
        return made
    parameters, fitting = made
    if not fitting.fits:
        return too_large(rated.strategy, base.model, fitting, facts.hardware)
    parameters = widened_within(parameters, fitting, base.model, facts.hardware)
    candidate = _candidate(base, rated, facts, parameters, fitting)
    for _, with_stage in parts.WITH_STAGE.all():
        candidate = with_stage(spec, facts, base.model, candidate, fitting.setup)
    return candidate


def fitted(
    spec: Spec,
    facts: Facts,
    base: RatedModel,
    rated: RatedStrategy,
    epochs: float,
    *,
    leave_out: bool,
) -> Rejected | tuple[dict[str, Parameter], Fit]:
    """The parameters and the set-up on this device, or why rules or request forbid it.

    The set-up may not fit. Arguments are those of ``candidate_or_rejected``, of which this is the
    lesser half of the work.
    """
    name = rated.strategy.name
    wanted = spec.aim.strategies
    if wanted is not None and name not in wanted:
        return _rejected(base, name, NOT_ASKED_FOR, "", "the request")
    if rated.refused is not None:
        why, rule, source = rated.refused
        return _rejected(base, name, why, rule, source)
    wide, gpus = spec.training.gpus_per_trial, facts.hardware.gpus // facts.hardware.nodes
    if wide > max(gpus, 1):
        why = f"a trial would take {wide} GPUs, and a machine has {gpus}"
        return _rejected(base, name, why, "", "the request (--gpus-per-trial)")
    out = rated.left_out
    if out is not None and wanted is None and leave_out:
        why = fill(out.why, base.values)
        return _rejected(base, name, why, out.id, out.source, if_named=True)
    parameters = settled_parameters(spec, rated, epochs, base.values)
    room = base.model.context_length - base.cap.tokens
    prompt = parameters.get("num_virtual_tokens")
    if prompt is not None and _least(prompt) > room:
        why = (
            f"texts of {base.cap.tokens} tokens leave room for {room} virtual ones in a context "
            f"of {base.model.context_length}"
        )
        remedies = (Remedy(kind="length", text="shorter texts (--max-length)"),)
        return _rejected(base, name, why, "", "the model's context", remedies=remedies)
    parameters = held_to(parameters, "num_virtual_tokens", room)
    workload = workload_of(spec, facts, base.model, epochs)
    # A narrower range comes before a set-up that costs quality or much time, and before refusing.
    tried = []
    for narrower in _narrowed(parameters):
        fit_ = fit(rated.strategy, narrower, base.model, facts.hardware, spec.training, workload)
        tried.append((narrower, fit_))
        accumulates = fit_.setup.gradient_accumulation_steps > 1
        if fit_.fits and not accumulates and not setup_loss(fit_.setup).mean:
            break
    fitting = [attempt for attempt in tried if attempt[1].fits]
    if not fitting:
        return tried[-1]
    whole = [
        attempt for attempt in fitting if _defaults(attempt[0]) == _defaults(parameters)
    ] or fitting
    least = max(setup_loss(attempt[1].setup).mean for attempt in whole)
    good = [attempt for attempt in whole if setup_loss(attempt[1].setup).mean == least]
    fastest = min(attempt[1].duration.seconds for attempt in good)
    return next(attempt for attempt in good if attempt[1].duration.seconds <= _SLOWER * fastest)


def _defaults(parameters: Mapping[str, Parameter]) -> list[object]:
    return [parameters[name].default for name in GROWING if name in parameters]


def held_to(parameters: Mapping[str, Parameter], name: str, most: float) -> dict[str, Parameter]:
    """The parameters with one of them held to at most ``most``, in both of its ranges."""
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
    """The parameters as they are, then with less and less of what memory grows with."""
    yield parameters
    for name in GROWING:
        whole = parameters.get(name)
        if whole is None or whole.shipped or whole.high is None or whole.low is None:
            continue
        narrow, most = whole.model_copy(update={"why": whole.why + _NARROWED}), whole.high
        while most > whole.low:
            most = max(most // 2, whole.low)
            parameters = held_to(parameters | {name: narrow}, name, most)
            yield parameters


def widened_within(
    parameters: Mapping[str, Parameter],
    fitted_setup: Fit,
    model: ModelFacts,
    hardware: HardwareFacts,
) -> dict[str, Parameter]:
    """The parameters with their allowed ranges cut to what the device can hold.

    The best-practice range fits already; what lies beyond it is tried in halvings from the top.
    """
    held = dict(parameters)
    for name in GROWING:
        parameter = held.get(name)
        if parameter is None or parameter.high is None or parameter.allowed_high is None:
            continue
        most = parameter.allowed_high
        while most > parameter.high and not _fits(fitted_setup, name, most, model, hardware):
            most = max(float(int(most) // 2), parameter.high)
        held = held_to(held, name, most)
    return held


def _fits(
    fitted_setup: Fit, name: str, value: float, model: ModelFacts, hardware: HardwareFacts
) -> bool:
    setup = fitted_setup.heaviest_setup.replace(**{name: int(value)})
    return estimate(model, setup, hardware.memory_gib).high_gib <= hardware.memory_gib


def _least(prompt: Parameter) -> float:
    """The fewest virtual tokens that must fit into the context."""
    if prompt.shipped:
        return max(float(value) for value in prompt.choices or (prompt.high or 0,))
    return prompt.low or 0


def _rejected(
    base: RatedModel, name: str, why: str, rule: str, source: str, **remedies: Any
) -> Rejected:
    return Rejected(
        strategy=name, model=base.model.id, reason=why, rule=rule, source=source, **remedies
    )


def _candidate(
    base: RatedModel,
    rated: RatedStrategy,
    facts: Facts,
    parameters: dict[str, Parameter],
    fitted_setup: Fit,
) -> Candidate:
    setup, strategy = fitted_setup.setup, rated.strategy
    gaps = [gap for _, own in parts.OWN_GAPS.all() for gap in own(facts, base.model, strategy.name)]
    learnt = gap_reason(gaps, strategy.quality.sd)
    quality, reasons = rated.quality, rated.reasons
    if learnt is not None and learnt.gap is not None:
        quality, reasons = Quality.pooled([quality, learnt.gap]), [*reasons, learnt]
    quality = quality.plus(setup_loss(setup))
    return Candidate.taken_from(
        setup,
        strategy=strategy.name,
        model=base.model.id,
        quality=quality.widened(interval_factor(facts, "strategy-gap")),
        risk=risk_of(fitted_setup.heaviest),
        reasons=followed(reasons, parameters),
        cautions=followed(rated.cautions, parameters),
        memory=_rounded(fitted_setup.memory),
        least_gib=math.ceil(fitted_setup.least_gib * 10) / 10,
        duration=fitted_setup.duration,
        begins_as_base=strategy.begins_as_base,
        one_trial=strategy.traits.one_trial,
        trainable_parameters=fitted_setup.trainable,
        expected_quality=strategy.quality.text,
        quality_source=strategy.quality.source,
        setup_notes=_setup_notes(base, strategy, facts.hardware, fitted_setup),
        parameters=parameters,
    )


def _half_note(base: RatedModel, hardware: HardwareFacts, fitted_setup: Fit) -> tuple[str, ...]:
    """The note on the precision of a GPU without bfloat16."""
    if hardware.device == "cpu" or hardware.bf16:
        return ()
    if fitted_setup.setup.precision == "fp16-mixed":
        return (FP16,)
    slow = "cards without tensor cores" if not hardware.fp16_tflops else ""
    why = slow or f"{base.model.model_type}, whose activations leave its range"
    return (NO_HALF.format(why=why),) if fitted_setup.setup.precision == "fp32" else ()


def _rounded(memory: MemoryEstimate) -> MemoryEstimate:
    """Rounded to a thousandth of a GiB, so that equal plans have no difference."""
    ends = {name: round(getattr(memory, name), 3) for name in ("peak_gib", "low_gib", "high_gib")}
    parts = {name: round(gib, 3) for name, gib in memory.parts.items()}
    return memory.model_copy(update={**ends, "parts": parts})


def _setup_notes(
    base: RatedModel, strategy: BookStrategy, hardware: HardwareFacts, fitted_setup: Fit
) -> tuple[str, ...]:
    heaviest = fitted_setup.heaviest
    pure = (PURE_BF16,) if fitted_setup.setup.precision == "bf16-pure" else ()
    smaller = {optimizer.use: optimizer for optimizer in strategy.smaller_optimizers}.get(
        fitted_setup.setup.optimizer
    )
    states = (f"optimizer {smaller.use}: {smaller.why} ({smaller.source})",) if smaller else ()
    return (
        f"texts of at most {base.cap.tokens} tokens: {base.cap.why}"
        f"{f'; {base.cap.longer} {IN_WORDS[base.cap.becomes]}' if base.cap.longer else ''}",
        f"memory: the configuration of the range that needs most takes {heaviest.peak_gib:.1f} GiB "
        f"(up to {heaviest.high_gib:.1f}) of {round(heaviest.limit_gib, 1):g} GiB; {MARGIN}",
        *states,
        *pure,
        *_half_note(base, hardware, fitted_setup),
    )
