"""What fails on this machine's GPU: tried once, before the first trial, so that none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.facts.machine.measured import SPEED_OF
from sweeper.facts.record import Facts, HardwareFacts
from sweeper.features.doctor._results import QUICK_SECONDS, Results, quick_results_file, results
from sweeper.features.parts import record_of
from sweeper.planning.rulebook.fact import FactInput, Value, flag
from sweeper.spec import Spec
from sweeper.views.console import say


class DoctorFacts(Record):
    """The quick checks that failed on this GPU, with what happened."""

    failed: dict[str, str]


@flag()
def four_bits_fail(inputs: FactInput) -> Value:
    """Whether 4-bit weights failed when they were tried on the GPU."""
    record = record_of(inputs.facts.features, "doctor", DoctorFacts)
    return record is not None and "4-bit" in record.failed


FACTS = (four_bits_fail,)


def hardware(hardware: HardwareFacts, for_run: bool) -> HardwareFacts:
    """The GPU without the precisions and kernels that fail on it."""
    failed = _failed(hardware, for_run)
    version = hardware.flash_attention
    if f"flash_attention_{version}" in failed:
        version = None
    joins = (version is not None and "bf16-mixed" not in failed) or (
        hardware.joins_rows and "joined rows" not in failed
    )
    fused = hardware.fused_kernels and "fused kernels" not in failed
    changed: dict[str, Any] = {
        "flash_attention": version,
        "joins_rows": joins,
        "fused_kernels": fused,
    }
    if "bf16-mixed" in failed:
        changed |= {"bf16": False, "bf16_tflops": None}
    if "fp16-mixed" in failed:
        changed["fp16_tflops"] = None
    return hardware.model_copy(update=changed) if failed else hardware


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> DoctorFacts | None:
    """The checks that failed."""
    failed = _failed(facts.hardware, False)
    return DoctorFacts(failed=failed) if failed else None


def warnings(spec: Spec, facts: Facts) -> Iterator[str]:
    """What trials do without."""
    record = record_of(facts.features, "doctor", DoctorFacts)
    for name, detail in record.failed.items() if record else ():
        yield f"{name} fails on this GPU, so trials do without it ({detail}): sweeper doctor --gpu"


def _failed(hardware: HardwareFacts, for_run: bool) -> dict[str, str]:
    """The failed checks of this GPU by name, from an earlier run or tried now."""
    if hardware.device != "cuda" or not hardware.detected:
        return {}
    name = hardware.name.partition(SPEED_OF)[0]
    tried = Results.read_or_none(quick_results_file(name))
    if for_run and (tried is None or tried.timed_out):
        say(f"Trying what works on {name}, once: at most {QUICK_SECONDS:g} s.")
        tried = results(quick=True)
        if "capability" not in tried.device:  # torch sees no GPU, which the run reports
            return {}
        with suppress(OSError):  # it is tried again with the next run
            tried.write(quick_results_file(name))
    failed = tried.results if tried else ()
    return {check.name: check.detail for check in failed if check.state == "failed"}
