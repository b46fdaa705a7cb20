"""Fits a strategy to the device: micro-batch, accumulation, checkpointing, precision, GPUs.

Of the set-ups that fit it takes the fastest. Knows nothing of rules; memory and time come from
their own modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweeper.declared.traits import Traits
from sweeper.facts.record import HardwareFacts, ModelFacts
from sweeper.hyperparameters import (
    ATTENTION,
    KL,
    MODULES_TO_SAVE,
    NEFTUNE,
    OPTIMIZER,
    PADDING_FREE,
    REPLAY,
    SDPA,
    modules_of,
    saved_modules,
)
from sweeper.memory.estimate import Setup, estimate, trainable_parameters
from sweeper.memory.linear_layers import saved_parameters, targeted
from sweeper.memory.setup import further_parameters
from sweeper.memory.states import optimizer_cost
from sweeper.planning.costs.corrections import ran_out, with_measured_peak
from sweeper.planning.costs.device_speed import trial_duration
from sweeper.planning.rulebook.strategy_files import DeclaredStrategy
from sweeper.plans import Duration, MemoryEstimate, Parameter, Precision
from sweeper.spec import Scalar, TrainingSpec

# The stated margin: a set-up fits if the upper end of its 90% interval does, so about one
# prediction in twenty may still be too low.
MARGIN = "the upper end of the 90% interval must fit the device"

# Evaluation keeps no gradients, so its batch may be larger; beyond this factor little is gained.
EVALUATION_FACTOR = 4

# Parameters whose effect on memory grows with their value: the fit is checked at the largest.
_HEAVY = ("r", "num_virtual_tokens", "encoder_hidden_size")


@dataclass(frozen=True, slots=True)
class TrialTokens:
    """Tokens that one trial trains and evaluates, and the lengths of its texts.

    Memory must hold a batch of texts at the cap; time goes by their mean length.
    ``answer_fraction`` is that of a batch at the cap, ``evaluation_rows`` all there are to score.
    """

    sequence_length: int
    mean_length: int
    train_tokens: int
    evaluation_tokens: int
    classes: int
    answer_fraction: float = 1.0
    evaluation_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """A set-up for the defaults of a strategy, with what it costs.

    ``memory`` is that of the defaults; ``heaviest`` that of the heaviest configuration in the
    best-practice range, which fits too if ``fits``; ``least_gib`` that of the smallest set-up
    which holds it.
    """

    setup: Setup
    heaviest_setup: Setup
    memory: MemoryEstimate
    heaviest: MemoryEstimate
    duration: Duration
    trainable: int
    fits: bool
    least_gib: float = 0.0


def fit(
    strategy: DeclaredStrategy,
    parameters: Mapping[str, Parameter],
    optimizer: str,
    model: ModelFacts,
    hardware: HardwareFacts,
    training: TrainingSpec,
    work: TrialTokens,
) -> Fit:
    """The fastest set-up that fits, or the smallest one if none does (``fits`` is False then)."""
    base = Setup(
        strategy=strategy.name,
        sequence_length=work.sequence_length,
        quantization=strategy.quantization,  # type: ignore[arg-type]
        classes=work.classes,
        answer_fraction=work.answer_fraction,
        evaluation_length=work.sequence_length,
        device=hardware.device,
        loss="by-rows",
        **{"optimizer": optimizer}
        | setup_fields(strategy.traits, parameters, model, heaviest=False),
    )
    heavy = setup_fields(strategy.traits, parameters, model, heaviest=True)
    heavy |= _further(base, heavy, parameters, model)
    smallest: Fit | None = None
    for shape in _shapes(base, _alternatives(strategy, parameters), model, training, hardware):
        best: Fit | None = None
        for setup in _batches(shape, parameters):
            found = _measured(setup, heavy, model, hardware, work)
            if smallest is None or found.heaviest.high_gib <= smallest.heaviest.high_gib:
                smallest = found  # at the same need the smaller batch says more
            if found.fits and (best is None or _better(found, best)):
                best = found
        if best is not None:
            found = _with_evaluation(best, heavy, model, hardware, work)
            least = _least_gib(base, strategy, training, hardware, parameters, model, heavy)
            return replace(found, least_gib=least)
    assert smallest is not None
    return smallest


def _least_gib(
    base: Setup,
    strategy: DeclaredStrategy,
    training: TrainingSpec,
    hardware: HardwareFacts,
    parameters: Mapping[str, Parameter],
    model: ModelFacts,
    heavy: Mapping[str, Any],
) -> float:
    """Memory of a device that the smallest of all set-ups needs, at the upper end, in GiB."""
    smallest = (
        list(_batches((shape,), parameters))[-1]
        for shapes in _shapes(base, _alternatives(strategy, parameters), model, training, hardware)
        for shape in shapes
    )
    limit = hardware.memory_gib
    return min(estimate(model, replace(one, **heavy), limit).high_gib for one in smallest)


def _better(one: Fit, other: Fit) -> bool:
    """Whether one set-up is faster beyond rounding; else the larger micro-batch wins."""
    if abs(one.duration.seconds - other.duration.seconds) > 0.005 * other.duration.seconds:
        return one.duration.seconds < other.duration.seconds
    key = (not one.setup.gradient_checkpointing, one.setup.micro_batch)
    return key > (not other.setup.gradient_checkpointing, other.setup.micro_batch)


# Families whose activations leave the range of float16 (65,504): T5 (transformers documentation,
# T5, and its clamp in modeling_t5.py), Gemma 2 and 3 (Unsloth, https://unsloth.ai/blog/gemma3).
_WIDE_ACTIVATIONS = ("t5", "mt5", "gemma2", "gemma3")


def precisions(
    hardware: HardwareFacts, training: TrainingSpec, family: str = ""
) -> tuple[Precision, ...]:
    """Precisions in order of preference: the user's, else the safest that the device supports.

    bf16-pure comes last, since it has no fp32 master weights to hold small updates. Tensor cores
    without bfloat16 compute in float16 with loss scaling, for models whose activations it holds.

    Args:
        family: The base's ``model_type``.
    """
    if training.precision is not None:
        return (training.precision,)
    if hardware.bf16:
        return ("bf16-mixed", "bf16-pure")
    wide = family.startswith(_WIDE_ACTIVATIONS)
    return ("fp16-mixed",) if hardware.fp16_tflops and not wide else ("fp32",)


def _alternatives(
    strategy: DeclaredStrategy, parameters: Mapping[str, Parameter]
) -> DeclaredStrategy:
    """The strategy, without other optimizers where the user declared one."""
    if OPTIMIZER not in parameters:
        return strategy
    return strategy.model_copy(update={"smaller_optimizers": ()})


def _shapes(
    base: Setup,
    strategy: DeclaredStrategy,
    model: ModelFacts,
    training: TrainingSpec,
    hardware: HardwareFacts,
) -> Iterator[tuple[Setup, ...]]:
    """Groups of set-ups in order of preference; within a group the fastest that fits is taken.

    A precision with fp32 master weights on several GPUs comes before pure bf16 on one; at the
    same precision fewer GPUs come first, since then more trials run at once. An optimizer with
    smaller states comes before more GPUs, and one of last resort after everything else.
    """
    checkpointing: tuple[bool, ...] = (False, True)
    if training.gradient_checkpointing is not None:
        checkpointing = (training.gradient_checkpointing,)
    if not strategy.gradient_checkpointing:
        checkpointing = (False,)
    several = [gpus for gpus in gpu_counts(hardware) if gpus > 1]
    smaller = [one for one in strategy.smaller_optimizers if not one.last_resort]
    last = [one for one in strategy.smaller_optimizers if one.last_resort]
    kinds = precisions(hardware, training, model.model_type)
    if not strategy.traits.gradients_through_base and hardware.device == "cpu":
        kinds = ("fp32",)  # features are those of the base as it is scored untrained
    shapes: list[Setup] = []
    for precision in kinds:
        one = replace(base, precision=precision)
        shapes += [one, *(replace(one, optimizer=other.use) for other in smaller)]
        if precision != "fp16-mixed":  # FSDP would need a scaler of its own
            shapes += [replace(one, gpus=gpus, sharding="fsdp") for gpus in several]
    shapes += [
        replace(base, precision=precision, optimizer=other.use)
        for other in last
        for precision in kinds
    ]
    for shape in shapes:
        yield tuple(replace(shape, gradient_checkpointing=flag) for flag in checkpointing)


def gpu_counts(hardware: HardwareFacts) -> tuple[int, ...]:
    """GPUs that one trial may take: 1, 2, 4, ... up to all there are."""
    counts = [1]
    while counts[-1] * 2 <= hardware.gpus:
        counts.append(counts[-1] * 2)
    return tuple(counts)


def _batches(shapes: tuple[Setup, ...], parameters: Mapping[str, Parameter]) -> Iterator[Setup]:
    """Every micro-batch that divides the default's effective batch, largest first."""
    declared = parameters.get("per_device_train_batch_size")
    effective = int(declared.default) if declared else 32
    for shape in shapes:
        share = max(effective // shape.gpus, 1)
        micro = share
        while micro >= 1:
            if share % micro == 0:
                steps = share // micro
                yield replace(
                    shape,
                    micro_batch=micro,
                    evaluation_batch=micro,
                    gradient_accumulation_steps=steps,
                )
            micro //= 2


def _measured(
    setup: Setup,
    heavy: Mapping[str, Any],
    model: ModelFacts,
    hardware: HardwareFacts,
    work: TrialTokens,
) -> Fit:
    limit = hardware.memory_gib
    if work.evaluation_rows is not None:
        setup = replace(setup, evaluation_batch=min(setup.evaluation_batch, work.evaluation_rows))
    heaviest_setup = replace(setup, **heavy)
    heaviest = with_measured_peak(
        estimate(model, heaviest_setup, limit), model, heaviest_setup, hardware
    )
    typical = replace(
        setup,
        sequence_length=work.mean_length,
        evaluation_length=work.mean_length,
        answer_fraction=1.0,  # as published speeds and those measured here count the output layer
    )
    return Fit(
        setup=setup,
        heaviest_setup=heaviest_setup,
        memory=with_measured_peak(estimate(model, setup, limit), model, setup, hardware),
        heaviest=heaviest,
        duration=trial_duration(
            model, typical, hardware, work.train_tokens, work.evaluation_tokens
        ),
        trainable=trainable_parameters(model, setup),
        fits=heaviest.high_gib <= limit and not ran_out(model, heaviest_setup, hardware),
    )


def _with_evaluation(
    found: Fit,
    heavy: Mapping[str, Any],
    model: ModelFacts,
    hardware: HardwareFacts,
    work: TrialTokens,
) -> Fit:
    """The same set-up with the largest evaluation batch that still fits."""
    factor = EVALUATION_FACTOR
    while factor > 1:
        batch = found.setup.micro_batch * factor
        setup = replace(found.setup, evaluation_batch=batch)
        larger = _measured(setup, heavy, model, hardware, work)
        if larger.fits:
            return larger
        factor //= 2
    return found


def setup_fields(
    traits: Traits, parameters: Mapping[str, Parameter], model: ModelFacts, *, heaviest: bool
) -> dict[str, Any]:
    """The fields of a set-up that a strategy's parameters decide."""
    further = sorted(further_parameters(traits) & parameters.keys())
    joined = PADDING_FREE in parameters and bool(parameters[PADDING_FREE].default)
    joined = joined and NEFTUNE not in parameters
    fields: dict[str, Any] = {"padded": not joined}
    if further:
        fields["parameters"] = tuple((name, parameters[name].default) for name in further)
    for name in _HEAVY:
        if name in parameters:
            fields[name] = int(_value(parameters[name], heaviest))
    if "reduction_factor" in parameters:
        parameter = parameters["reduction_factor"]
        choices = [int(c) for c in parameter.choices or ()]
        lightest = parameter.default if not heaviest else min(choices)
        fields["reduction_factor"] = int(lightest)
    if "target_modules" in parameters:
        fields["target_modules"] = _widest(parameters["target_modules"], model, heaviest)
    if "placement" in parameters:
        placement = parameters["placement"]
        both = heaviest and "houlsby" in (placement.choices or ())
        fields["placement"] = "houlsby" if both else str(placement.default)
    for name in ("use_dora", "prefix_projection"):
        if name in parameters:
            parameter = parameters[name]
            ever = heaviest and True in (parameter.choices or ())
            fields[name] = bool(parameter.default) or ever
    if KL in parameters:
        near = parameters[KL]
        fields["near_base"] = bool(_value(near, heaviest))
    if REPLAY in parameters:
        fields["replay_share"] = float(_value(parameters[REPLAY], heaviest))
    if OPTIMIZER in parameters:
        fields["optimizer"] = _largest_states(parameters[OPTIMIZER], heaviest)
    if ATTENTION in parameters and parameters[ATTENTION].default != SDPA:
        fields["attention"] = "flash"
    if MODULES_TO_SAVE in parameters:
        fields["modules_to_save"] = _most_saved(parameters[MODULES_TO_SAVE], model, heaviest)
    if "lora_dropout" in parameters:
        fields["lora_dropout"] = float(_value(parameters["lora_dropout"], heaviest))
    return fields


def _value(parameter: Parameter, heaviest: bool) -> Scalar:
    if not heaviest or not parameter.searched:
        return parameter.default
    if parameter.choices is not None:
        return max(parameter.choices, key=float)
    return parameter.default if parameter.high is None else parameter.high


def _widest(parameter: Parameter, model: ModelFacts, heaviest: bool) -> tuple[str, ...] | str:
    """The target modules of the default, or of the choice that reaches most of the model."""
    choices = parameter.choices or () if heaviest else ()
    named = [modules_of(str(choice)) for choice in (*choices, parameter.default)]
    return max(named, key=lambda one: sum(linear.parameters for linear in targeted(model, one)))


def _largest_states(parameter: Parameter, heaviest: bool) -> str:
    """The default optimizer, or the one of the choices that holds and needs most."""
    choices = [str(parameter.default), *(map(str, parameter.choices or ()) if heaviest else ())]
    needs = {name: optimizer_cost(name, 4) for name in choices}
    largest = max(choices, key=lambda name: needs[name].states + needs[name].temporary)
    return str(largest)


def _most_saved(parameter: Parameter, model: ModelFacts, heaviest: bool) -> tuple[str, ...]:
    """The modules that train whole by default, or the choice with most weights."""
    choices = [parameter.default, *(parameter.choices or () if heaviest else ())]
    named = [saved_modules({MODULES_TO_SAVE: choice}) for choice in choices]
    return max(named, key=lambda names: saved_parameters(model, names, new_head=False))


def _further(
    base: Setup, heavy: Mapping[str, Any], parameters: Mapping[str, Parameter], model: ModelFacts
) -> dict[str, Any]:
    """For parameters that only the strategy's formula uses, the values that train most."""
    setup = replace(base, **heavy)
    for name, default in base.parameters:
        parameter = parameters[name]
        if not parameter.searched:
            continue
        ends = [end for end in (parameter.low, parameter.high) if end is not None]
        tried = [
            replace(setup, parameters=tuple({**dict(setup.parameters), name: value}.items()))
            for value in (default, *(parameter.choices or ends))
        ]
        setup = max(tried, key=lambda one: trainable_parameters(model, one))
    return {"parameters": setup.parameters}
