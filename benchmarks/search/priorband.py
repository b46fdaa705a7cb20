"""PriorBand as NePS has it, on the same worlds. Needs the package neural-pipeline-search.

NePS has no conditional spaces, so all strategies' parameters lie flat beside each other and those
of the strategy that was not drawn are ignored. A configuration that moves up goes on from where it
stopped and pays for the rest alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from neps import AskAndTell, algorithms
from neps.space import HPOCategorical, HPOFloat, HPOInteger, SearchSpace

from benchmarks.search.score import Replay
from benchmarks.search.world import Realised, World
from sweeper.plans import Parameter, Plan
from sweeper.search import optuna_space
from sweeper.spec import Scalar

RUNG = "rung"
MOST_ASKED = 400


def _parameter(name: str, parameter: Parameter, known: Any) -> Any:
    if parameter.kind == "categorical":
        return HPOCategorical(choices=list(known.choices), prior=parameter.default)
    kind = HPOInteger if parameter.kind == "int" else HPOFloat
    return kind(
        lower=known.low, upper=known.high, log=parameter.log, prior=parameter.default,
        prior_confidence="medium",
    )  # fmt: skip


def flat_space(plan: Plan) -> SearchSpace:
    """The study's space without conditions, with the defaults as priors."""
    known = optuna_space.distributions(plan)
    keyed = {
        key: one
        for key, one in optuna_space.candidates(plan).items()
        if optuna_space.searchable(one)
    }
    flat: dict[str, Any] = {
        f"{key}.{name}": _parameter(name, parameter, known[f"{key}.{name}"])
        for key, one in keyed.items()
        for name, parameter in one.parameters.items()
        if parameter.searched
    }
    flat[optuna_space.STRATEGY] = HPOCategorical(choices=list(keyed), prior=next(iter(keyed)))
    flat[RUNG] = HPOInteger(lower=1, upper=plan.budget.rungs, is_fidelity=True)
    return SearchSpace(flat)


def run(world: World, seed: int, budgets: float, unit: float) -> Replay:
    """PriorBand to the end of its time, after the head's one trial, which others begin with too."""
    np.random.seed(seed)  # NePS draws from both of the global generators
    torch.manual_seed(seed)
    plan = world.plan
    asking = AskAndTell(algorithms.priorband(flat_space(plan), eta=3, sample_prior_first=True))
    limit, spent = budgets * unit, 0.0
    ended: list[tuple[float, Realised]] = []
    for key, one in optuna_space.candidates(plan).items():
        if not optuna_space.searchable(one):
            head = world.trial(key, one.defaults())
            spent += head.seconds[-1]
            ended.append((spent, head))
    paid: dict[str, float] = {}
    begun = 0
    while spent < limit and begun < MOST_ASKED:
        asked = asking.ask()
        begun += 1
        key, parameters = _chosen(plan, dict(asked.config))
        shown = world.trial(key, parameters)
        rung = int(asked.config[RUNG])
        shown_at = min(rung, len(shown.seconds)) - 1  # it may have ended before
        which = asked.metadata.id.split("_")[0]
        spent += max(0.0, shown.seconds[shown_at] - paid.get(which, 0.0))
        paid[which] = shown.seconds[shown_at]
        loss = shown.losses[shown_at]
        asking.tell(asked, float(min(loss, 10 * world.guessing)))
        if rung == plan.budget.rungs and shown.items is not None:
            ended.append((spent, shown))
    counts = (begun, len(ended))
    return Replay(tuple(ended), world.best, world.guessing, unit, limit, counts, spent)


def _chosen(plan: Plan, config: dict[str, Any]) -> tuple[str, dict[str, Scalar]]:
    key = str(config[optuna_space.STRATEGY])
    chosen: dict[str, Scalar] = {}
    for name, parameter in optuna_space.candidates(plan)[key].parameters.items():
        if optuna_space.holds(parameter, chosen):
            value = config[f"{key}.{name}"] if parameter.searched else parameter.default
            chosen[name] = value
    return key, chosen
