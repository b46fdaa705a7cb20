"""Continued pretraining in a plan: which ways fit, and the time and the bases of a stage."""

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
from sweeper.planning.costs.device_speed import speed_of, step_seconds
from sweeper.plans import Candidate, Parameter, Stage, autocast_dtype
from sweeper.spec import Scalar, Spec

# A base that has read a corpus is written whole and in fp32, whichever way it read.
_BYTES = 4


def with_stage(
    spec: Spec, facts: Facts, model: ModelFacts, candidate: Candidate, setup: Setup
) -> Candidate:
    """The candidate with the first stages that fit, and the time of one."""
    parameter = candidate.parameters.get(FIRST_STAGE)
    if parameter is None:
        return candidate
    limit = candidate.memory.limit_gib
    ways = [
        str(way)
        for way in parameter.allowed
        if way == NO_FIRST_STAGE
        or estimate(model, _reading(setup, str(way)), limit).high_gib <= limit
    ]
    candidate = candidate.model_copy(update={"parameters": _narrowed(candidate.parameters, ways)})
    if len(ways) == 1:
        notes = (*candidate.stage_notes, _LEFT_OUT)
        return candidate.model_copy(update={"stage_notes": notes})
    return _timed(candidate, facts, model, setup)


_LEFT_OUT = (
    f"first stage: left out, since the base in fp32 with LoRA of rank {FIRST_STAGE_RANK} does "
    "not fit the device"
)


def _narrowed(parameters: Mapping[str, Parameter], ways: Sequence[str]) -> dict[str, Parameter]:
    """The parameters with only these first stages; without any if only ``none`` is left."""
    if list(ways) == [NO_FIRST_STAGE]:
        return {
            name: value for name, value in parameters.items() if not name.startswith(FIRST_STAGE)
        }
    old = parameters[FIRST_STAGE]
    choices = [way for way in old.choices or () if way in ways]
    if choices == [NO_FIRST_STAGE]:  # the rules' way does not fit, and another one does
        choices = list(ways)
    default = old.default if old.default in choices else choices[-1]
    update: dict[str, object] = {
        "choices": tuple(choices),
        "allowed_choices": tuple(ways),
        "default": default,
    }
    if tuple(choices) != old.choices:
        update["prior"] = None
    return dict(parameters) | {FIRST_STAGE: old.model_copy(update=update)}


def _reading(setup: Setup, way: str) -> Setup:
    """The set-up of the first stage: the base in fp32, whatever the trial's precision is."""
    return setup.replace(
        strategy=way,
        precision=setup.precision if autocast_dtype(setup.precision) else "fp32",
        base_dtype="float32",
        quantization=None,
        r=FIRST_STAGE_RANK,
        target_modules="all-linear",
        modules_to_save=(),
        optimizer=USUAL_OPTIMIZER,
        gpus=1,
        extra=NO_EXTRA,
        padded=True,  # blocks hold several documents
    )


def _timed(candidate: Candidate, facts: Facts, model: ModelFacts, setup: Setup) -> Candidate:
    """The candidate with its first stage, and a note on it."""
    corpus = record_of(facts.features, NAME, CorpusFacts)
    choices = candidate.parameters[FIRST_STAGE].choices or ()
    ways = [str(way) for way in choices if way != NO_FIRST_STAGE]
    if corpus is None or not ways:
        return candidate
    epochs = candidate.parameters["first_stage_epochs"].default
    tokens = round(corpus.tokens * float(epochs))
    reading = _reading(setup, ways[0])
    speed = speed_of(facts.hardware, reading)
    steps = tokens / (reading.tokens * reading.gradient_accumulation_steps)
    seconds = steps * step_seconds(model, reading, speed)
    note = (
        f"first stage: about {tokens:,} tokens of {corpus.documents:,} documents, "
        f"about {units.duration(seconds)} with {ways[0]}, once for each way and rate; trials "
        "share it. It is included in the time of the search"
    )
    stage = Stage(
        parameter=FIRST_STAGE,
        seconds=seconds,
        key=_name(candidate, setup.micro_batch, setup.gradient_checkpointing),
        variants=_variants(candidate.parameters, ways),
        bases=_bases(candidate),
        base_bytes=_BYTES * model.parameters,
    )
    return candidate.model_copy(
        update={
            "stages": {**candidate.stages, NAME: stage},
            "stage_notes": (*candidate.stage_notes, note),
        }
    )


def _variants(parameters: Mapping[str, Parameter], ways: Sequence[str]) -> int:
    """How many first stages the search may choose, by their way and rate."""
    rates = [parameters[FIRST_STAGE_RATES[way]] for way in ways]
    return sum(len(rate.choices or (1,)) if rate.searched else 1 for rate in rates)


def _bases(candidate: Candidate) -> tuple[str, ...]:
    """Every base that a trial may ask for, by what distinguishes its first stage."""
    parameters = candidate.parameters.items()
    stages = {name: setting for name, setting in parameters if name.startswith(FIRST_STAGE)}
    chosen = (
        dict(zip(stages, values, strict=True))
        for values in itertools.product(*map(_values, stages.values()))
    )
    ways = (
        [
            value
            for name, value in way.items()
            if (condition := stages[name].condition) is None
            or way[condition.parameter] in condition.values
        ]
        for way in chosen
        if way[FIRST_STAGE] != NO_FIRST_STAGE
    )
    return tuple(dict.fromkeys(_name(candidate, *way) for way in ways))


def _name(candidate: Candidate, *details: Scalar) -> str:
    parts = (candidate.model, candidate.precision, candidate.sequence_length, *details)
    return " ".join(map(str, parts))


def _values(parameter: Parameter) -> tuple[Scalar, ...]:
    if not parameter.searched:
        return (parameter.default,)
    return tuple(dict.fromkeys([*parameter.allowed, parameter.default]))
