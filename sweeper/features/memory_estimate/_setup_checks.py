"""Set-ups from user input: reports every mistake at once, with near matches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from sweeper.declared.yaml_files import known_strategies
from sweeper.errors import Problem, UsageError, near_match
from sweeper.facts.record import ModelFacts
from sweeper.memory.linear_layers import linears, targeted, words
from sweeper.memory.setup import OPTIMIZERS, Attention, Loss, Quantization, Setup
from sweeper.plans import Precision

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "precision": get_args(Precision),
    "quantization": get_args(Quantization),
    "attention": get_args(Attention),
    "loss": get_args(Loss),
    "optimizer": OPTIMIZERS,
}
#: Other names of a way to pack weights.
_SYNONYMS = {"gptq": "int4", "awq": "int4"}
_LEAST = {"micro_batch": 1, "sequence_length": 1, "r": 1, "gpus": 1, "classes": 0}


def checked_setup(**fields: Any) -> Setup:
    """A set-up from untrusted values; ``target_modules`` may be names with commas.

    Raises:
        UsageError: A choice is unknown or a number out of bounds; all of them are listed.
    """
    packed = fields.get("quantization")
    fields["quantization"] = _SYNONYMS.get(str(packed), packed)
    problems = []
    for name, choices in {"strategy": known_strategies(), **_CHOICES}.items():
        value = fields.get(name)
        if value is not None and value not in choices:
            what, fix = f"{value!r} is not a known {name}", near_match(str(value), choices)
            problems.append(Problem(what, fix=fix, where=_flag(name)))
    for name, least in _LEAST.items():
        if fields.get(name, least) < least:
            what = f"{name} is {fields[name]}"
            problems.append(Problem(what, f"It must be at least {least}.", where=_flag(name)))
    if problems:
        raise UsageError(problems)
    targets = fields.get("target_modules")
    if isinstance(targets, str) and targets != "all-linear":
        fields["target_modules"] = tuple(t.strip() for t in targets.split(",") if t.strip())
    return Setup(**fields)


def check_targets(model: ModelFacts, setup: Setup) -> None:
    """Every target module must exist in the model.

    Raises:
        UsageError: A name matches no linear layer; the model's names are listed.
    """
    wanted = setup.target_modules
    wanted = (wanted,) if isinstance(wanted, str) else wanted
    names = {linear.name for linear in linears(model)} | set(words())
    problems = [
        Problem(
            f"{model.id} has no linear layer named {word!r}",
            fix=near_match(word, names),
            where="--target-modules",
        )
        for word in wanted
        if not targeted(model, (word,))
    ]
    if problems:
        raise UsageError(problems)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}" if name != "r" else "--rank"
