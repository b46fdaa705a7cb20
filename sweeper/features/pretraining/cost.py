"""Continued pretraining in a plan: which strategies fit, and the time and bases of a stage."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from sweeper import units
from sweeper.facts.record import NO_EXTRA, USUAL_OPTIMIZER, Facts, ModelFacts
from sweeper.features.parts import record_of
from sweeper.features.pretraining._facts import (
    FIRST_STAGE,
    FIRST_STAGE_RANK,
    FIRST_STAGE_RATES,
    NAME,
    NO_FIRST_STAGE,
    CorpusFacts,
)
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import Setup
from sweeper.planning.costs.step_time import speed_of, step_seconds
from sweeper.plans import Candidate, Parameter, Stage, autocast_dtype
from sweeper.spec import Scalar, Spec

# The size of a trained base, which is written whole and in fp32, whichever strategy trained it.
_BYTES_PER_PARAMETER = 4


def with_stage(
    spec: Spec, facts: Facts, model: ModelFacts, candidate: Candidate, setup: Setup
) -> Candidate:
    """The candidate with only the first stages that fit the device, and the time of one stage."""
    parameter = candidate.parameters.get(FIRST_STAGE)
    if parameter is None:
        return candidate
    limit = candidate.memory.limit_gib
    strategies = [
        str(strategy)
        for strategy in parameter.allowed
        if strategy == NO_FIRST_STAGE
        or estimate(model, _stage_setup(setup, str(strategy)), limit).high_gib <= limit
    ]
    candidate = candidate.model_copy(
        update={"parameters": _with_choices(candidate.parameters, strategies)}
    )
    if len(strategies) == 1:
        notes = (*candidate.stage_notes, _NO_STAGE_NOTE)
        return candidate.model_copy(update={"stage_notes": notes})
    return _with_stage_time(candidate, facts, model, setup)


_NO_STAGE_NOTE = (
    f"first stage: left out, since the base in fp32 with LoRA of rank {FIRST_STAGE_RANK} does "
    "not fit the device"
)


def _with_choices(
    parameters: Mapping[str, Parameter], strategies: Sequence[str]
) -> dict[str, Parameter]:
    """The parameters with these choices of ``first_stage``.

    If ``none`` is the only choice, all parameters of the first stage are left out.
    """
    if list(strategies) == [NO_FIRST_STAGE]:
        return {
            name: value for name, value in parameters.items() if not name.startswith(FIRST_STAGE)
        }
    declared = parameters[FIRST_STAGE]
    choices = [strategy for strategy in declared.choices or () if strategy in strategies]
    if choices == [NO_FIRST_STAGE]:  # the rules' strategy does not fit, but another one does
        choices = list(strategies)
    default = declared.default if declared.default in choices else choices[-1]
    update: dict[str, object] = {
        "choices": tuple(choices),
        "allowed_choices": tuple(strategies),
        "default": default,
    }
    if tuple(choices) != declared.choices:
        update["prior"] = None
    return dict(parameters) | {FIRST_STAGE: declared.model_copy(update=update)}


def _stage_setup(setup: Setup, strategy: str) -> Setup:
    """The set-up of the first stage: the base in fp32, whatever the trial's precision is."""
    return setup.replace(
        strategy=strategy,
        precision=setup.precision if autocast_dtype(setup.precision) else "fp32",
        base_dtype="float32",
        quantization=None,
        r=FIRST_STAGE_RANK,
        target_modules="all-linear",
        modules_to_save=(),
        optimizer=USUAL_OPTIMIZER,
        gpus=1,
        extra=NO_EXTRA,
        padded=True,  # a mask is needed, since a block holds several documents
    )


def _with_stage_time(
    candidate: Candidate, facts: Facts, model: ModelFacts, setup: Setup
) -> Candidate:
    """The candidate with its first stage, and a note on it."""
    corpus = record_of(facts.features, NAME, CorpusFacts)
    choices = candidate.parameters[FIRST_STAGE].choices or ()
    strategies = [str(strategy) for strategy in choices if strategy != NO_FIRST_STAGE]
    if corpus is None or not strategies:
        return candidate
    epochs = candidate.parameters["first_stage_epochs"].default
    tokens = round(corpus.tokens * float(epochs))
    stage_setup = _stage_setup(setup, strategies[0])
    speed = speed_of(facts.hardware, stage_setup)
    steps = tokens / (stage_setup.tokens * stage_setup.gradient_accumulation_steps)
    seconds = steps * step_seconds(model, stage_setup, speed)
    note = (
        f"first stage: about {tokens:,} tokens of {corpus.documents:,} documents, "
        f"about {units.duration(seconds)} with {strategies[0]}, once for each strategy and "
        "learning rate; trials share it. It is included in the time of the search"
    )
    stage = Stage(
        parameter=FIRST_STAGE,
        seconds=seconds,
        key=_key(candidate, setup.micro_batch, setup.gradient_checkpointing),
        variants=_variants(candidate.parameters, strategies),
        bases=_bases(candidate),
        base_bytes=_BYTES_PER_PARAMETER * model.parameters,
    )
    return candidate.model_copy(
        update={
            "stages": {**candidate.stages, NAME: stage},
            "stage_notes": (*candidate.stage_notes, note),
        }
    )


def _variants(parameters: Mapping[str, Parameter], strategies: Sequence[str]) -> int:
    """The number of first stages that differ in strategy or learning rate."""
    rates = [parameters[FIRST_STAGE_RATES[strategy]] for strategy in strategies]
    return sum(len(rate.choices or (1,)) if rate.searched else 1 for rate in rates)


def _bases(candidate: Candidate) -> tuple[str, ...]:
    """Keys of all bases that first stages may make from this candidate's base model."""
    parameters = candidate.parameters.items()
    declared = {name: each for name, each in parameters if name.startswith(FIRST_STAGE)}
    combinations = (
        dict(zip(declared, values, strict=True))
        for values in itertools.product(*map(_values, declared.values()))
    )
    applicable = (
        [
            value
            for name, value in values_by_name.items()
            if (condition := declared[name].condition) is None
            or values_by_name[condition.parameter] in condition.values
        ]
        for values_by_name in combinations
        if values_by_name[FIRST_STAGE] != NO_FIRST_STAGE
    )
    return tuple(dict.fromkeys(_key(candidate, *values) for values in applicable))


def _key(candidate: Candidate, *details: Scalar) -> str:
    """The key of a ``Stage`` or a base: equal for candidates with equal details, which share it."""
    parts = (candidate.model, candidate.setup.precision, candidate.setup.sequence_length, *details)
    return " ".join(map(str, parts))


def _values(parameter: Parameter) -> tuple[Scalar, ...]:
    if not parameter.searched:
        return (parameter.default,)
    return tuple(dict.fromkeys([*parameter.allowed, parameter.default]))
