"""Makes the plan of ``sweeper run`` on the machine that will train, with its measurements.

On this one, or, where a Ray cluster is named, on one of its nodes: ``python -m
sweeper.processes.plan_where GPUS`` reads an ``_Order`` there and writes an ``_Outcome``.
"""

from __future__ import annotations

import importlib.util
import os
import sys

from sweeper import errors
from sweeper.artifact import Record
from sweeper.child_process import NoAnswer, ask
from sweeper.facts.machine.hardware import hardware_facts, needs_calibration
from sweeper.facts.machine.measured import with_measured
from sweeper.facts.record import Facts, HardwareFacts
from sweeper.planning.planner import make_plan
from sweeper.plans import Plan
from sweeper.processes.probe_process import with_probes
from sweeper.spec import Spec
from sweeper.views.console import Tell, say, say_nothing

_MODULE = "sweeper.processes.plan_where"
_CALIBRATE = "sweeper.training.probes.calibrate"
# Measuring takes a second or two and loading torch some more.
_CALIBRATION_SECONDS = 60.0


def trains_elsewhere(spec: Spec) -> bool:
    """Whether the hardware is that of a Ray cluster which is named, and nobody has stated it."""
    search, hardware = spec.search, spec.hardware
    named = search.executor == "ray" and (search.ray_address or os.environ.get("RAY_ADDRESS"))
    stated = hardware.gpu is not None or hardware.gpu_memory_gib is not None
    # Without Ray the run itself says so.
    return bool(named) and not stated and importlib.util.find_spec("ray") is not None


def plan_here(spec: Spec, facts: Facts, *, measure: bool, probe: bool | None, tell: Tell) -> Plan:
    """Plan for this machine.

    Args:
        facts: With the hardware of this machine.
        measure: Measure what this machine can do, if nobody has before.
        probe: Train a few steps of each candidate first; if None, where ``measure`` and trials run
            on a GPU here.
    """
    plan = make_plan(spec, facts)
    if measure and (known := calibrated(spec, facts, tell)) is not facts:
        plan = make_plan(spec, known)
    machine = plan.facts.hardware
    if probe or (probe is None and measure and machine.detected and machine.device == "cuda"):
        plan = with_probes(spec, plan, tell)
    return plan


def calibrated(spec: Spec, facts: Facts, tell: Tell = say_nothing) -> Facts:
    """The facts with the processor's speed, measured now if necessary.

    Whatever goes wrong costs the plan's certainty, not the sweep: the plan says that its times
    are not calibrated.
    """
    known = facts.hardware
    if not needs_calibration(known) or not _measure(known, tell):
        return facts
    hardware = with_measured(hardware_facts(spec.hardware), facts.models)
    return facts.model_copy(update={"hardware": hardware})


def _measure(facts: HardwareFacts, tell: Tell) -> bool:
    tell(f"Measuring {facts.name} once, for the plan's times.")
    try:
        ask(_CALIBRATE, "", seconds=_CALIBRATION_SECONDS, threads=facts.cpu_cores)
    except (OSError, NoAnswer):
        tell("It could not be measured; times are estimates.")
        return False
    return True


class _Order(Record):
    """The request to a node, see ``plan_here``. The hardware of ``facts`` is not used."""

    spec: Spec
    facts: Facts
    measure: bool
    probe: bool | None


class _Outcome(Record):
    """The answer of a node: a plan, or the reason why there is none."""

    plan: Plan | None = None
    error: str = ""
    problems: tuple[errors.Problem, ...] = ()


def plan_elsewhere(
    spec: Spec, facts: Facts, *, measure: bool, probe: bool | None, tell: Tell = say_nothing
) -> Plan:
    """The same, made on a node of the cluster, with that node's hardware.

    Raises:
        RunError: No node can be asked.
        SweeperError: What ``plan_here`` raised there.
    """
    from sweeper.execution.pools.ray_node import on_node  # loads Ray

    tell("Planning on a node of the Ray cluster.")
    # The storage may hold a password.
    search = spec.search.model_copy(update={"storage": None})
    told = spec.model_copy(update={"search": search})
    order = _Order(spec=told, facts=facts, measure=measure, probe=probe)
    answer = on_node(
        _MODULE,
        order.model_dump_json(),
        address=spec.search.ray_address,
        gpu=spec.hardware.gpus is not None,
        say=tell,
    )
    if said := answer.errors.strip():
        tell(said)
    outcome = _Outcome.model_validate_json(answer.out.splitlines()[-1])
    if outcome.plan is not None:
        return outcome.plan
    raise getattr(errors, outcome.error)(outcome.problems)


def main() -> None:
    """Answer one order, on a node."""
    gpus, order = int(sys.argv[1]), _Order.model_validate_json(sys.stdin.read())
    spec = order.spec
    if gpus and spec.hardware.gpus is None:
        # This process is shown one GPU; the node has all of these.
        known = spec.hardware.model_copy(update={"gpus": gpus})
        spec = spec.model_copy(update={"hardware": known})
    try:
        hardware = with_measured(hardware_facts(spec.hardware), order.facts.models)
        facts = order.facts.model_copy(update={"hardware": hardware})
        plan = plan_here(spec, facts, measure=order.measure, probe=order.probe, tell=say)
        outcome = _Outcome(plan=plan)
    except errors.SweeperError as error:
        outcome = _Outcome(error=type(error).__name__, problems=error.problems)
    print(outcome.model_dump_json())


if __name__ == "__main__":
    main()
