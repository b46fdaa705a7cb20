"""The first trials of a study: defaults, then the user's own configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sweeper.hyperparameters import AUGMENTED, FIRST_STAGE, NO_AUGMENTED, NO_FIRST_STAGE
from sweeper.plans import Candidate, Plan
from sweeper.search import optuna_space
from sweeper.spec import OwnTrial, Scalar
from sweeper.trials import Origin

_LEFT_OUT = ((FIRST_STAGE, NO_FIRST_STAGE), (AUGMENTED, NO_AUGMENTED))


@dataclass(frozen=True)
class Start:
    """One trial to come.

    Args:
        origin: ``default`` or ``user``.
        fixed: Searched parameters by the study's names, as ``optuna_space.fixed`` makes them.
        overrides: The user's values of parameters that are not searched, by plain name.
    """

    origin: Origin
    fixed: Mapping[str, Scalar]
    overrides: Mapping[str, Scalar] = field(default_factory=dict)


def default_start(key: str, candidate: Candidate) -> Start:
    """The rule book's default of a candidate."""
    return Start("default", optuna_space.fixed(key, candidate, {}))


def known_starts(plan: Plan, total: int) -> Iterator[Start]:
    """The trials whose parameters are known beforehand, in their order.

    Defaults, in the plan's order, leave room for the user's own configurations.
    """
    keyed = optuna_space.candidates(plan)
    own = [_own(plan, one) for one in plan.own_trials]
    without = list(_skipping(keyed)) if total > 1 else []
    first = list(keyed)[: max(1, total - len(own) - len(without))]
    # What has one trial only is cheap, and what the others are to be better than. Order is kept.
    for key in sorted(first, key=lambda key: optuna_space.searchable(keyed[key])):
        yield default_start(key, keyed[key])
    yield from without
    yield from own


def _own(plan: Plan, own: OwnTrial) -> Start:
    candidate = plan.candidate(own.strategy, own.model)
    key = optuna_space.candidate_key(plan, candidate)
    overrides = {
        name: value
        for name, value in own.parameters.items()
        if name in candidate.parameters and not candidate.parameters[name].searched
    }
    return Start("user", optuna_space.fixed(key, candidate, own.parameters), overrides)


def _skipping(keyed: Mapping[str, Candidate]) -> Iterator[Start]:
    """The first default without its first stage, and without augmented rows, to compare."""
    for name, without in _LEFT_OUT:
        for key, candidate in keyed.items():
            found = candidate.parameters.get(name)
            if found is not None and found.searched and found.default != without:
                yield Start("default", optuna_space.fixed(key, candidate, {name: without}))
                break


def useful_total(plan: Plan, total: int) -> int:
    """The total, or fewer where nothing is left to search once every configuration ran."""
    if any(optuna_space.searchable(candidate) for candidate in plan.candidates):
        return total
    return min(total, sum(1 for _ in known_starts(plan, total)))
