"""Trains a few steps of a set-up in a process with torch, unless they were measured before.

The results are stored with the trials' measurements, so that plans read them as facts.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.errors import ChildFailed, NotInstalled, SweeperError, UsageError
from sweeper.facts.machine import measured
from sweeper.facts.machine.hardware import hardware_facts, needs_calibration
from sweeper.facts.machine.measured import dated_measurement, shape_of, with_measured
from sweeper.facts.record import NO_EXTRA, Facts, HardwareFacts, Measured, ModelFacts
from sweeper.memory.estimate import KNOWN
from sweeper.memory.setup import Probed, ProbeRequest, Setup
from sweeper.packages import TRAINING, require
from sweeper.planning.budget.trial_budget import TYPICAL_CLASSES, sequence_cap
from sweeper.planning.costs.setups import candidate_setup
from sweeper.planning.planner import make_plan
from sweeper.plans import Candidate, Plan
from sweeper.spec import HardwareSpec, Spec
from sweeper.traits.traits import TARGETED, traits_of
from sweeper.units import gib
from sweeper.views.console import Say, say_nothing

FUNCTION = "sweeper.training.probes.training_step:answer"
_TIMEOUT_SECONDS = 600
# If less than this share of the device's memory was free, it may have run out because of other
# processes. Smaller uses by others are within the interval of predictions.
_MIN_FREE_SHARE = 1 / KNOWN[1]
_CALIBRATE = "sweeper.training.probes.device:answer"
# A calibration takes a second or two, and loading torch takes some more.
_CALIBRATION_SECONDS = 60.0
_FIX = "The formula's estimate stands without --probe."


def probe(
    model: ModelFacts, setup: Setup, mean_length: int | None = None, *, tell: Say = say_nothing
) -> Measured:
    """Time and memory of real steps on this machine, from the cache or measured now.

    Running out of memory is a valid result.

    Args:
        mean_length: Mean tokens of an example; the sequence length if None.
        tell: Shows a sentence if the result cannot be kept.

    Raises:
        UsageError: The set-up cannot be measured, or not on this machine.
        NotInstalled: A package for training is missing.
    """
    hardware = hardware_facts(HardwareSpec())
    if hardware.device != setup.device:
        raise UsageError(
            f"this machine has no {setup.device} device to probe"
            if setup.device == "cuda"
            else "this machine trains on its GPU, and that is what a probe measures",
            fix="Ask with --cpu." if setup.device == "cuda" else "Ask without --cpu.",
            where="--probe",
        )
    mean = mean_length or setup.sequence_length
    stored = stored_measurement(model, setup, mean, hardware)
    if stored is not None:
        return stored
    answer = _probe_in_child(model, setup, mean, hardware)
    measurement = _measurement(model, setup, mean, answer)
    if measurement.out_of_memory and not _has_device_alone(answer):
        tell("Other processes use memory too, so this is not kept.")
        return measurement
    try:
        measured.append(measurement, hardware.name, _cores(hardware))
    except OSError as error:
        tell(f"The measurement could not be kept: {error}")
    return measurement


def _has_device_alone(answer: Probed) -> bool:
    """Whether other processes used little or none of the device's memory."""
    return answer.free_gib >= _MIN_FREE_SHARE * answer.total_gib


def line(measurement: Measured, predicted_gib: float) -> str:
    """A line with a probe's result and the formula's prediction."""
    formula = f"the formula says {gib(predicted_gib)}"
    if measurement.out_of_memory:
        return f"Probe: it did not fit when it was tried on {measurement.when}; {formula}."
    own = measurement.reserved_gib
    reserved = "" if own is None else f" ({gib(own)} reserved)"
    return (
        f"Probe: {gib(measurement.peak_gib or 0.0)} at the peak{reserved} and "
        f"{measurement.seconds_per_step:.3g} s a step, measured on {measurement.when}; {formula}."
    )


def _cores(hardware: HardwareFacts) -> int:
    """Cores by which stored measurements are told apart: those of a CPU; 0 for a GPU."""
    return (hardware.cpu_cores or 1) if hardware.device == "cpu" else 0


def stored_measurement(
    model: ModelFacts, setup: Setup, mean: int, hardware: HardwareFacts
) -> Measured | None:
    """The measurement of the same set-up with the installed versions; None if there is none."""
    key = (shape_of(model), setup.key(), mean)
    measurements = measured.read(hardware.name, _cores(hardware))
    return next((m for m in measurements if (m.shape, m.probe, m.mean_length) == key), None)


def _probe_in_child(model: ModelFacts, setup: Setup, mean: int, hardware: HardwareFacts) -> Probed:
    require("A probe", TRAINING)
    try:
        return in_child(
            FUNCTION,
            ProbeRequest(model=model, setup=setup, mean_length=mean),
            Probed,
            what="the probe",
            fix=_FIX,
            where="--probe",
            seconds=_TIMEOUT_SECONDS,
            threads=hardware.cpu_cores,
        )
    except ChildFailed as error:
        if error.status == -signal.SIGKILL and setup.device == "cpu":
            return Probed(out_of_memory=True)  # the system killed it for its memory
        raise


def _measurement(model: ModelFacts, setup: Setup, mean: int, answer: Probed) -> Measured:
    targets, targeted = setup.target_modules, setup.traits.adds in TARGETED
    names = targets if isinstance(targets, str) else ",".join(targets)
    return dated_measurement(
        setup.replace(evaluation_batch=1),
        model,
        **answer.model_dump(exclude={"free_gib", "total_gib"}),
        r=setup.r if targeted else None,
        target_modules=names if targeted else None,
        mean_length=mean,
        probe=setup.key(),
    )


# Maximum rounds of probes: a set-up that does not fit is replaced by a smaller one, which is probed
# too.
_MAX_ROUNDS = 3


def with_probes(spec: Spec, plan: Plan, tell: Say = say_nothing) -> Plan:
    """Probe each candidate that was not measured on this machine, and plan again.

    Raises:
        UsageError: The plan is for hardware that is not this machine.
        NotInstalled: A package for training is missing.
    """
    if not plan.facts.hardware.detected:
        raise UsageError(
            f"{plan.facts.hardware.name} is not here to be probed",
            fix="Leave out --probe, or the flags that name other hardware.",
            where="--probe",
        )
    tried: set[tuple[str, str, int]] = set()
    for _ in range(_MAX_ROUNDS):
        facts, measured_anything = plan.facts, False
        for model, setup, mean in _setups(spec, plan):
            key = (shape_of(model), setup.key(), mean)
            if key not in tried and stored_measurement(model, setup, mean, facts.hardware) is None:
                measured_anything |= _probe_candidate(model, setup, mean, tell)
            tried.add(key)
        if not measured_anything:
            break
        hardware = with_measured(facts.hardware, facts.models)
        plan = make_plan(spec, facts.model_copy(update={"hardware": hardware}))
    return plan


def _probe_candidate(model: ModelFacts, setup: Setup, mean: int, tell: Say) -> bool:
    """Probe a set-up; False if the probe failed, which only makes the plan less certain."""
    what = f"{setup.strategy} of {model.id}"
    try:
        measurement = probe(model, setup, mean, tell=tell)
    except NotInstalled:
        raise
    except SweeperError as error:
        tell(f"{what} was not probed: {error.problems[0].what}")
        return False
    seconds = measurement.seconds_per_step
    outcome = "does not fit" if measurement.out_of_memory else f"{seconds:.3g} s a step"
    tell(f"Probed {what} at {setup.micro_batch} examples: {outcome}.")
    return True


def _setups(spec: Spec, plan: Plan) -> Iterator[tuple[ModelFacts, Setup, int]]:
    """Model, default set-up and mean tokens of each candidate that is trained on one device."""
    models = {model.id: model for model in plan.facts.models}
    for candidate in plan.candidates:
        traits = traits_of(candidate.strategy)
        if traits.gradients_through_base and candidate.setup.gpus == 1:
            model = models[candidate.model]
            mean = max(1, round(sequence_cap(spec, plan.facts, model).mean))
            setup = _setup_of(candidate, plan.facts)
            if not setup.modules_to_save:  # a measurement has no field for these
                yield model, setup, mean


def _setup_of(candidate: Candidate, facts: Facts) -> Setup:
    """The set-up of a candidate's default at its full sequence length, padded and without the
    additions of features."""
    head = facts.task == "classification" and facts.classes_by == "head"
    setup = candidate_setup(
        candidate,
        candidate.defaults(),
        candidate.setup.sequence_length,
        (len(facts.data.labels) or TYPICAL_CLASSES) if head else 0,
        facts.hardware.device,
    )
    return setup.replace(padded=True, evaluation_batch=0, extra=NO_EXTRA)


def measured_plan(
    spec: Spec, facts: Facts, *, measure: bool, probe: bool | None, tell: Say
) -> Plan:
    """Plan for this machine, with its measurements.

    Args:
        facts: Facts with the hardware of this machine.
        measure: Whether to calibrate this machine, if that was not done.
        probe: Whether to train a few steps of each candidate; None: only if ``measure`` and
            trials run on a GPU of this machine.
    """
    plan = make_plan(spec, facts)
    if measure and (with_speed := calibrated(spec, facts, tell)) is not facts:
        plan = make_plan(spec, with_speed)
    machine = plan.facts.hardware
    if probe or (probe is None and measure and machine.detected and machine.device == "cuda"):
        plan = with_probes(spec, plan, tell)
    return plan


def calibrated(spec: Spec, facts: Facts, tell: Say = say_nothing) -> Facts:
    """The facts with the processor's measured speed, calibrated now if necessary.

    If that fails, the facts are unchanged, and the plan says that its times are not calibrated.
    """
    machine = facts.hardware
    if not needs_calibration(machine) or not _calibrate(machine, tell):
        return facts
    hardware = with_measured(hardware_facts(spec.hardware), facts.models)
    return facts.model_copy(update={"hardware": hardware})


def _calibrate(facts: HardwareFacts, tell: Say) -> bool:
    """Measure the speed of this machine, and store it; False if that failed."""
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
