"""Set-ups from user input: reports every mistake at once, with near matches."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, get_args

from sweeper.declared.files import known_strategies
from sweeper.errors import Problem, UsageError, near_match
from sweeper.facts.record import ModelFacts
from sweeper.memory.linear_layers import linears, targeted, words
from sweeper.memory.setup import OPTIMIZERS, Attention, Loss, Quantization, Setup, Sharding
from sweeper.plans import Precision

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "precision": get_args(Precision),
    "quantization": get_args(Quantization),
    "attention": get_args(Attention),
    "loss": get_args(Loss),
    "sharding": get_args(Sharding),
    "optimizer": OPTIMIZERS,
}
#: Other names of a way to pack weights.
_SYNONYMS = {"gptq": "int4", "awq": "int4"}
_POSITIVE = ("micro_batch", "sequence_length", "r", "gpus")


def checked_setup(**fields: Any) -> Setup:
    """A set-up from untrusted values; ``target_modules`` may be names with commas.

    Raises:
        UsageError: A choice is unknown or a number out of bounds; all of them are listed.
    """
    packed = fields.get("quantization")
    fields["quantization"] = _SYNONYMS.get(str(packed), packed)
    choices = {"strategy": known_strategies(), **_CHOICES}
    problems = [
        _unknown(name, fields[name], known) for name, known in choices.items() if name in fields
    ]
    problems += [_too_small(name, fields[name]) for name in _POSITIVE if name in fields]
    if fields.get("classes", 0) < 0:
        problems.append(Problem(f"classes is {fields['classes']}", where="--classes"))
    found = [problem for problem in problems if problem is not None]
    if found:
        raise UsageError(found)
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
    missing = [word for word in wanted if not targeted(model, (word,))]
    if missing:
        names = {linear.name for linear in linears(model)} | set(words())
        raise UsageError(
            [
                Problem(
                    f"{model.id} has no linear layer named {word!r}",
                    fix=near_match(word, names),
                    where="--target-modules",
                )
                for word in missing
            ]
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}" if name != "r" else "--rank"


def _unknown(name: str, value: str | None, known: Collection[str]) -> Problem | None:
    if value is None or value in known:
        return None
    hint = near_match(str(value), known)
    return Problem(f"{value!r} is not a known {name}", fix=hint, where=_flag(name))


def _too_small(name: str, value: int) -> Problem | None:
    if value >= 1:
        return None
    return Problem(f"{name} is {value}", "It must be at least 1.", where=_flag(name))
