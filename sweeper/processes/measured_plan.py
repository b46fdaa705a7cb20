"""Makes the plan of ``sweeper run``, with measurements of this machine."""

from __future__ import annotations

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.errors import SweeperError
from sweeper.facts.machine.hardware import hardware_facts, needs_calibration
from sweeper.facts.machine.measured import with_measured
from sweeper.facts.record import Facts, HardwareFacts
from sweeper.planning.planner import make_plan
from sweeper.plans import Plan
from sweeper.processes.probe_process import with_probes
from sweeper.spec import Spec
from sweeper.views.console import Tell, say_nothing

_CALIBRATE = "sweeper.training.probes.calibrate:answer"
# Measuring takes a second or two and loading torch some more.
_CALIBRATION_SECONDS = 60.0


def measured_plan(
    spec: Spec, facts: Facts, *, measure: bool, probe: bool | None, tell: Tell
) -> Plan:
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
        in_child(
            _CALIBRATE,
            Record(),
            Record,
            what="the measurement",
            seconds=_CALIBRATION_SECONDS,
            threads=facts.cpu_cores,
        )
    except (OSError, SweeperError):
        tell("It could not be measured; times are estimates.")
        return False
    return True
