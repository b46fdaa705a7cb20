"""The first stage of domain adaptation in a plan: which ways fit, and the time of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sweeper import units
from sweeper.facts.record import Facts, ModelFacts
from sweeper.hyperparameters import FIRST_STAGE, FIRST_STAGE_RANK, NO_FIRST_STAGE
from sweeper.memory.estimate import estimate
from sweeper.memory.setup import USUAL_OPTIMIZER, Setup
from sweeper.planning.costs.device_speed import speed_of, step_seconds
from sweeper.plans import Candidate, Parameter, autocast_dtype


def with_first_stage(
    candidate: Candidate, facts: Facts, model: ModelFacts, setup: Setup
) -> Candidate:
    """The candidate with the first stages that fit, and the time of one.

    Args:
        setup: The set-up in which the candidate trains the task.
    """
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
        notes = (*candidate.setup_notes, _LEFT_OUT)
        return candidate.model_copy(update={"setup_notes": notes})
    return _timed(candidate, facts, model, setup)


_LEFT_OUT = (
    f"first stage: left out, since the base in fp32 with LoRA of rank {FIRST_STAGE_RANK} does "
    "not fit the device"
)


def _narrowed(parameters: Mapping[str, Parameter], ways: Sequence[str]) -> dict[str, Parameter]:
    """The parameters with only these first stages; without any if only ``none`` is left."""
    if list(ways) == [NO_FIRST_STAGE]:
        return {name: one for name, one in parameters.items() if not name.startswith(FIRST_STAGE)}
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
    return replace(
        setup,
        strategy=way,
        precision=setup.precision if autocast_dtype(setup.precision) else "fp32",
        base_dtype="float32",
        quantization=None,
        r=FIRST_STAGE_RANK,
        target_modules="all-linear",
        modules_to_save=(),
        optimizer=USUAL_OPTIMIZER,
        gpus=1,
        near_base=False,
        replay_share=0.0,
        padded=True,  # blocks hold several documents
    )


def _timed(candidate: Candidate, facts: Facts, model: ModelFacts, setup: Setup) -> Candidate:
    """The candidate with the time of its first stage, and a note on it."""
    corpus, parameter = facts.data.corpus, candidate.parameters[FIRST_STAGE]
    ways = [way for way in parameter.choices or () if way != NO_FIRST_STAGE]
    if corpus is None or not ways:
        return candidate
    way = str(ways[0])
    epochs = candidate.parameters["first_stage_epochs"].default
    tokens = round(corpus.tokens * float(epochs))
    reading = _reading(setup, way)
    speed = speed_of(facts.hardware, reading)
    steps = tokens / (reading.tokens * reading.gradient_accumulation_steps)
    time = speed.range(steps * step_seconds(model, reading, speed))
    note = (
        f"first stage: about {tokens:,} tokens of {corpus.documents:,} documents, "
        f"{units.span(time.low, time.high)} with {way}, once for each way and rate; trials share "
        "it. It is included in the time of the search"
    )
    notes = (*candidate.setup_notes, note)
    return candidate.model_copy(update={"setup_notes": notes, "first_stage": time})
