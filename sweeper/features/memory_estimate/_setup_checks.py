"""Makes set-ups from flags. Errors suggest the nearest known names."""

from __future__ import annotations

from typing import Any

from sweeper.errors import Problem, UsageError, near_match
from sweeper.facts.models.linear_layers import linears, role_words, targeted
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import OPTIMIZERS, Setup
from sweeper.traits.traits import known_strategies


def checked_setup(**fields: Any) -> Setup:
    """A set-up from flags; ``target_modules`` may be names with commas.

    Raises:
        UsageError: Strategy or optimizer is unknown.
    """
    problems = [
        Problem(f"{fields[name]!r} is not a known {name}", "", fix, f"--{name}")
        for name, choices in (("strategy", known_strategies()), ("optimizer", OPTIMIZERS))
        if name in fields and fields[name] not in choices
        if (fix := near_match(fields[name], choices))
    ]
    if problems:
        raise UsageError(problems)
    if fields.get("quantization") in ("gptq", "awq"):
        fields["quantization"] = "int4"
    targets = fields.get("target_modules")
    if isinstance(targets, str) and targets != "all-linear":
        fields["target_modules"] = tuple(t.strip() for t in targets.split(",") if t.strip())
    return Setup(**fields)


def check_targets(model: ModelFacts, setup: Setup) -> None:
    """Check that every target module exists in the model.

    Raises:
        UsageError: A name matches no linear layer; the error suggests names.
    """
    targets = setup.target_modules
    targets = (targets,) if isinstance(targets, str) else targets
    names = {linear.name for linear in linears(model)} | set(role_words())
    problems = [
        Problem(
            f"{model.id} has no linear layer named {target!r}",
            fix=near_match(target, names),
            where="--target-modules",
        )
        for target in targets
        if not targeted(model, (target,))
    ]
    if problems:
        raise UsageError(problems)
