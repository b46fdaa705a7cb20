"""The first trials of a study: defaults, then the user's own configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sweeper.hyperparameters import AUGMENTED, FIRST_STAGE, NO_AUGMENTED, NO_FIRST_STAGE
from sweeper.plans import Candidate, Plan
from sweeper.search import optuna_space
from sweeper.spec import Scalar
from sweeper.trials import Origin

# The rule book's defaults come first and may use this share of the trials.
DEFAULTS_SHARE = 1 / 3

# A default that costs at most this share of the dearest one (a frozen head against a tuned body)
# is an answer for next to nothing, and does not count against the others' share.
NEARLY_FREE = 0.1

_LEFT_OUT = (
    (FIRST_STAGE, NO_FIRST_STAGE, "first stage"),
    (AUGMENTED, NO_AUGMENTED, "augmented rows"),
)


@dataclass(frozen=True)
class Start:
    """One trial to come.

    Args:
        name: For people.
        origin: ``default`` or ``user``.
        fixed: Searched parameters by the study's names, as ``optuna_space.fixed`` makes them.
        overrides: The user's values of parameters that are not searched, by plain name.
    """

    name: str
    origin: Origin
    fixed: Mapping[str, Scalar]
    overrides: Mapping[str, Scalar] = field(default_factory=dict)


def default_start(key: str, candidate: Candidate) -> Start:
    """The rule book's default of a candidate."""
    return Start(f"default {key}", "default", optuna_space.fixed(key, candidate, {}))


def known_starts(plan: Plan, total: int) -> Iterator[Start]:
    """The trials whose parameters are known beforehand, in their order."""
    keyed = optuna_space.candidates(plan)
    # What has one trial only is cheap, and what the others are to be better than. Order is kept.
    cheap_first = sorted(
        _defaults(plan, total), key=lambda key: optuna_space.searchable(keyed[key])
    )
    for key in cheap_first:
        yield default_start(key, keyed[key])
    yield from _skipping(plan, total)
    for number, own in enumerate(plan.own_trials):
        candidate = plan.candidate(own.strategy, own.model)
        key = optuna_space.candidate_key(plan, candidate)
        overrides = {
            name: value
            for name, value in own.parameters.items()
            if name in candidate.parameters and not candidate.parameters[name].searched
        }
        fixed = optuna_space.fixed(key, candidate, own.parameters)
        yield Start(f"user {number}", "user", fixed, overrides)


def _skipping(plan: Plan, total: int) -> Iterator[Start]:
    """The first default without its first stage, and without augmented rows, to compare."""
    keyed = optuna_space.candidates(plan)
    for name, without, words in _LEFT_OUT:
        for key in _defaults(plan, total):
            found = keyed[key].parameters.get(name)
            if found is not None and found.searched and total > 1 and found.default != without:
                fixed = optuna_space.fixed(key, keyed[key], {name: without})
                yield Start(f"default {key} without {words}", "default", fixed)
                break


def _defaults(plan: Plan, total: int) -> list[str]:
    """The candidates whose defaults are tried, in the plan's order.

    A third of the trials, beside what is nearly free and what has no other trial than this one.
    """
    keyed = optuna_space.candidates(plan)
    seconds = {key: candidate.seconds_per_trial for key, candidate in keyed.items()}
    dearest = max(seconds.values())
    free = {
        key
        for key, candidate in keyed.items()
        if candidate.seconds_per_trial <= NEARLY_FREE * dearest
        or not optuna_space.searchable(candidate)
    }
    allowed = max(1, int(total * DEFAULTS_SHARE))
    paid = [key for key in seconds if key not in free][:allowed]
    chosen = [key for key in seconds if key in paid or key in free]
    return chosen[: max(1, total // 2)]


def useful_total(plan: Plan, total: int) -> int:
    """The total, or fewer where nothing is left to search once every configuration ran."""
    if any(optuna_space.searchable(candidate) for candidate in plan.candidates):
        return total
    return min(total, sum(1 for _ in known_starts(plan, total)))
