"""Measures one step of each candidate of a plan before it is believed, and plans again.

Knows what a candidate trains; the probe itself knows whether that was measured before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sweeper.declared.traits import traits_of
from sweeper.errors import NotInstalled, SweeperError, UsageError
from sweeper.facts.machine.measured import shape_of, with_measured
from sweeper.facts.record import Facts, ModelFacts
from sweeper.memory.setup import Setup
from sweeper.planning.budget.rung_schedule import TYPICAL_CLASSES
from sweeper.planning.budget.sequence_cap import sequence_cap
from sweeper.planning.costs.setups import candidate_setup
from sweeper.planning.planner import make_plan
from sweeper.plans import Candidate, Plan
from sweeper.processes.probe_process import digest, known, probe
from sweeper.spec import Spec
from sweeper.views.console import Tell, say_nothing

# A set-up that does not fit makes way for a smaller one, which is probed in its turn.
_ROUNDS = 3


def with_probes(spec: Spec, plan: Plan, tell: Tell = say_nothing) -> Plan:
    """The plan made anew with a measured step of each candidate that nobody has measured here.

    Raises:
        UsageError: The plan is for hardware that is not this machine.
        NotInstalled: What a probe trains with is missing.
    """
    if not plan.facts.hardware.detected:
        raise UsageError(
            f"{plan.facts.hardware.name} is not here to be probed",
            fix="Leave out --probe, or the flags that name other hardware.",
            where="--probe",
        )
    tried: set[tuple[str, str]] = set()
    for _ in range(_ROUNDS):
        facts, news = plan.facts, False
        for model, setup, mean in _setups(spec, plan):
            key = (shape_of(model), digest(setup, mean))
            if key not in tried and known(model, setup, mean, facts.hardware) is None:
                news |= _tried(model, setup, mean, tell)
            tried.add(key)
        if not news:
            break
        hardware = with_measured(facts.hardware, facts.models)
        plan = make_plan(spec, facts.model_copy(update={"hardware": hardware}))
    return plan


def _tried(model: ModelFacts, setup: Setup, mean: int, tell: Tell) -> bool:
    """Whether a probe told something; what goes wrong costs certainty and no more."""
    what = f"{setup.strategy} of {model.id}"
    try:
        found = probe(model, setup, mean, tell=tell)
    except NotInstalled:
        raise
    except SweeperError as error:
        tell(f"{what} was not probed: {error.problems[0].what}")
        return False
    told = "does not fit" if found.out_of_memory else f"{found.seconds_per_step:.3g} s a step"
    tell(f"Probed {what} at {setup.micro_batch} examples: {told}.")
    return True


def _setups(spec: Spec, plan: Plan) -> Iterator[tuple[ModelFacts, Setup, int]]:
    """The defaults of each candidate that takes steps on one device, with the mean length."""
    models = {model.id: model for model in plan.facts.models}
    for candidate in plan.candidates:
        traits = traits_of(candidate.strategy)
        if traits.gradients_through_base and candidate.gpus_per_trial == 1:
            model = models[candidate.model]
            mean = max(1, round(sequence_cap(spec, plan.facts, model).mean))
            setup = _setup_of(candidate, plan.facts)
            if not setup.modules_to_save:  # what is kept has no place for these
                yield model, setup, mean


def _setup_of(candidate: Candidate, facts: Facts) -> Setup:
    """At the cap, with padding, and without what only guards against forgetting."""
    head = facts.task == "classification" and facts.classes_by == "head"
    setup = candidate_setup(
        candidate,
        candidate.defaults(),
        candidate.sequence_length,
        (len(facts.data.labels) or TYPICAL_CLASSES) if head else 0,
        facts.hardware.device,
    )
    plain: dict[str, Any] = {"evaluation_batch": 0, "replay_share": 0.0, "near_base": False}
    return replace(setup, padded=True, **plain)
