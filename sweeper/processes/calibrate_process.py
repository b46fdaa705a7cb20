"""Measures this machine once, before the first plan of a sweep.

Knows when a measurement is missing; the measuring is a process of its own, since it needs torch.
"""

from __future__ import annotations

from sweeper.child_process import NoAnswer, ask
from sweeper.facts.machine.hardware import hardware_facts, needs_calibration
from sweeper.facts.machine.measured import with_measured
from sweeper.facts.record import Facts, HardwareFacts
from sweeper.spec import Spec
from sweeper.views.console import Tell, say_nothing

_MODULE = "sweeper.training.probes.calibrate"
# Measuring takes a second or two and loading torch some more.
_SECONDS = 60.0


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
        ask(_MODULE, "", seconds=_SECONDS, threads=facts.cpu_cores)
    except (OSError, NoAnswer):
        tell("It could not be measured; times are estimates.")
        return False
    return True
