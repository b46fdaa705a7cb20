"""Makes the set-up of a configuration or a measurement, on which its time and memory depend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sweeper.facts.record import Measured, TrainingSetup
from sweeper.hyperparameters import (
    ATTENTION,
    OPTIMIZER,
    SDPA,
    TARGET_MODULES,
    modules_of,
    saved_modules,
)
from sweeper.memory.setup import Setup, extra_memory_and_time, further_parameters
from sweeper.plans import Candidate
from sweeper.spec import Scalar
from sweeper.traits.traits import Traits


def candidate_setup(
    candidate: Candidate, parameters: Mapping[str, Scalar], length: int, classes: int, device: str
) -> Setup:
    """The set-up of one configuration of a candidate.

    Args:
        length: Mean tokens of an example.
        classes: Classes of a new head; 0 for the vocabulary.
        device: ``cpu`` or ``cuda``.
    """
    setup = candidate.trial_setup(parameters)
    base = _setup(setup, candidate.strategy, length, classes, device)
    return base.replace(**setup_fields(base.traits, parameters))


def measured_setup(measured: Measured, classes: int, device: str) -> Setup:
    """The set-up that was measured, at its mean length."""
    base = _setup(measured.setup, measured.strategy, measured.mean_length, classes, device)
    names = ("r", TARGET_MODULES, "lora_dropout")
    noted = {name: value for name in names if (value := getattr(measured, name)) is not None}
    return base.replace(**(setup_fields(base.traits, noted) | {"extra": measured.extra}))


def _setup(setup: TrainingSetup, strategy: str, length: int, classes: int, device: str) -> Setup:
    return Setup.taken_from(
        setup,
        sequence_length=length,
        strategy=strategy,
        evaluation_length=length,
        classes=classes,
        device="cuda" if device == "cuda" else "cpu",
    )


def setup_fields(traits: Traits, parameters: Mapping[str, Scalar]) -> dict[str, Any]:
    """The fields of a set-up that follow from the parameters of a strategy.

    Parameters of the strategy's formulas without a field of their own are in ``parameters``; what
    features add to a step is in ``extra``.
    """
    further = sorted(further_parameters(traits) & parameters.keys())
    fields: dict[str, Any] = {
        "modules_to_save": saved_modules(parameters),
        "parameters": tuple((name, parameters[name]) for name in further),
        "extra": extra_memory_and_time(parameters),
    }
    for name in _FIELD_TYPES.keys() & parameters.keys():
        fields["optimizer" if name == OPTIMIZER else name] = _FIELD_TYPES[name](parameters[name])
    if parameters.get(ATTENTION, SDPA) != SDPA:
        fields["attention"] = "flash"
    return fields


# Parameters that set a field of a set-up, and the type of that field.
_FIELD_TYPES: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("r", "num_virtual_tokens", "encoder_hidden_size", "reduction_factor"), int),
    **dict.fromkeys(("use_dora", "prefix_projection"), bool),
    **dict.fromkeys(("placement", OPTIMIZER), str),
    "lora_dropout": float,
    TARGET_MODULES: modules_of,
}
