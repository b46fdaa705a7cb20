"""Which rule the next trial tests: the best trial so far, with one parameter across a rule's bound.

Pure: the same plan and trials give the same choice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from sweeper.hyperparameters import EPOCHS
from sweeper.plans import Parameter, Plan
from sweeper.search import optuna_space
from sweeper.search.loss_model.axes import Rows, axis_of
from sweeper.search.loss_model.gaussian_process import matern
from sweeper.search.loss_model.observations import Observation
from sweeper.search.optuna_space import Start
from sweeper.search.rule_claims import Claim, claims
from sweeper.spec import Scalar

# So many trials on either side of a rule's bound are some test of it.
ENOUGH = 2


def rule_test(
    plan: Plan, seen: Sequence[Observation], tested: Collection[str] = ()
) -> Start | None:
    """The test of the rule whose contradiction could change the recommendation most.

    Rules with fewer than two trials on one side come first. Among them it is the one whose
    parameter, moved across the bound, could change the loss most by what the search's own model
    takes losses to depend on before it sees any. Epochs are left alone: they change what a trial
    costs.

    Args:
        tested: Rules that have a trial of their own.

    Returns:
        None where no trial completed, or no rule is left.
    """
    done = [one for one in seen if one.complete and one.keeps and one.loss is not None]
    if not done:
        return None
    best = min(done, key=lambda one: (one.loss, one.number))
    candidate = optuna_space.candidates(plan)[best.key]
    base = {**candidate.defaults(), **best.parameters}
    alike = [{**candidate.defaults(), **one.parameters} for one in seen if one.key == best.key]
    found: list[tuple[bool, float, str, dict[str, Scalar]]] = []
    for reason in candidate.reasons:
        for claim in claims(reason, candidate):
            name, parameter = claim.parameter, candidate.parameters.get(claim.parameter)
            if reason.rule in tested or parameter is None or name == EPOCHS or name not in base:
                continue
            value = across(claim, parameter, base[name])
            if value is None:
                continue
            sides = [claim.inside(point[name]) for point in alike if name in point]
            tried = min(sides.count(True), sides.count(False)) >= ENOUGH
            change = _possible_change(parameter, name, base[name], value)
            found.append((tried, -change, reason.rule, {name: value}))
    if not found:
        return None
    _, _, rule, moved = min(found, key=lambda one: one[:2])
    searched = {name for name, one in candidate.parameters.items() if one.searched}
    chosen = {name: value for name, value in (base | moved).items() if name in searched}
    return Start(
        origin="rule-test",
        fixed=optuna_space.fixed(best.key, candidate, chosen),
        overrides={name: value for name, value in moved.items() if name not in searched},
        rule=rule,
    )


def across(claim: Claim, parameter: Parameter, value: Scalar) -> Scalar | None:
    """A value on the other side of a claim; None where none is allowed.

    Of a range, half its width beyond the nearer bound. Of choices, the nearest other number or the
    first other word; of a number that is not searched, the farther end of its usual range.
    """
    if not claim.inside(value):
        return parameter.default if claim.inside(parameter.default) else None
    if parameter.kind == "categorical":
        allowed = [one for one in parameter.allowed if not claim.inside(one)]
        return min(allowed, key=lambda one: _apart(one, value), default=None)
    number = float(value)
    if claim.choices:
        ends = [end for end in (parameter.low, parameter.high) if end is not None]
        usual = [end for end in ends if not claim.inside(end)]
        beyond = sorted(usual, key=lambda end: -abs(end - number)) or [number / 2, number * 2]
    else:
        beyond = _beyond(claim, number, log=parameter.log and claim.low > 0)
    for end in beyond:
        kept = _allowed(parameter, end)
        if not claim.inside(kept):
            return kept
    return None


def _beyond(claim: Claim, value: float, *, log: bool) -> list[float]:
    """Half of the range's width beyond either bound, the nearer one first."""
    low, high, at = (math.log(one) if log else one for one in (claim.low, claim.high, value))
    half = (high - low) / 2
    ends = sorted((high + half, low - half), key=lambda end: abs(end - at))
    return [math.exp(end) if log else end for end in ends]


def _allowed(parameter: Parameter, value: float) -> Scalar:
    low = parameter.allowed_low if parameter.allowed_low is not None else -math.inf
    high = parameter.allowed_high if parameter.allowed_high is not None else math.inf
    kept = min(max(value, low), high)
    return round(kept) if parameter.kind == "int" else float(f"{kept:.3g}")


def _apart(one: Scalar, value: Scalar) -> float:
    """How far apart two numbers are in octaves, larger ones first; 0 for words."""
    if isinstance(one, bool | str) or isinstance(value, bool | str) or one <= 0 or value <= 0:
        return 0.0
    return abs(math.log2(one / value)) - (0.1 if one > value else 0.0)


def _possible_change(parameter: Parameter, name: str, first: Scalar, second: Scalar) -> float:
    known = optuna_space.distribution(parameter, [first, second])
    points: list[Mapping[str, Scalar]] = [{name: first}, {name: second}]
    rows = Rows({name: axis_of(name, parameter, known)}).matrix(points)
    return 1.0 - float(matern(rows[:1], rows[1:])[0, 0])
