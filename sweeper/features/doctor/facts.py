"""The quick checks that fail on this machine's GPU; they run once, before the first trial."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from sweeper.artifact import Record
from sweeper.data.examples import Dataset
from sweeper.facts.machine.measured import TIMES_OF
from sweeper.facts.record import Facts, HardwareFacts
from sweeper.features.doctor._results import (
    QUICK,
    QUICK_SECONDS,
    Results,
    quick_results_file,
    results,
)
from sweeper.features.parts import record_of
from sweeper.planning.rulebook.fact import FactInput, Value, flag
from sweeper.spec import Spec
from sweeper.views.console import say


class DoctorFacts(Record):
    """The quick checks that failed on this GPU, with the errors."""

    failed: dict[str, str]


@flag()
def four_bits_fail(inputs: FactInput) -> Value:
    """Whether the check of 4-bit weights failed on the GPU."""
    record = record_of(inputs.facts.features, "doctor", DoctorFacts)
    return record is not None and "4-bit" in record.failed


FACTS = (four_bits_fail,)


def hardware(hardware: HardwareFacts, for_run: bool) -> HardwareFacts:
    """The GPU without the precisions and kernels that fail on it."""
    failed = _errors_of_failed_checks(hardware, for_run)
    flash_attention = hardware.flash_attention
    if f"flash_attention_{flash_attention}" in failed:
        flash_attention = None
    joins_rows = hardware.joins_rows and "joined rows" not in failed
    update: dict[str, Any] = {
        "flash_attention": flash_attention,
        # Where torch's kernel for joined (packed) rows fails, FlashAttention's can join them; it
        # takes only 16 bits.
        "joins_rows": joins_rows or (flash_attention is not None and "bf16-mixed" not in failed),
        "fused_kernels": hardware.fused_kernels and "fused kernels" not in failed,
    }
    if "bf16-mixed" in failed:
        update |= {"bf16": False, "bf16_tflops": None}
    if "fp16-mixed" in failed:
        update["fp16_tflops"] = None
    return hardware.model_copy(update=update) if failed else hardware


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> DoctorFacts | None:
    """The checks that have failed; None if none has. No check is run, even if ``for_run``."""
    failed = _errors_of_failed_checks(facts.hardware, for_run=False)
    return DoctorFacts(failed=failed) if failed else None


def warnings(spec: Spec, facts: Facts) -> Iterator[str]:
    """A warning for each failed check."""
    record = record_of(facts.features, "doctor", DoctorFacts)
    for name, detail in record.failed.items() if record else ():
        yield f"{name} fails on this GPU: trials do without it ({detail}); see sweeper doctor --gpu"


def _errors_of_failed_checks(hardware: HardwareFacts, for_run: bool) -> dict[str, str]:
    """The errors of this GPU's failed checks by name; runs the checks first if ``for_run``."""
    if hardware.device != "cuda" or not hardware.detected:
        return {}
    # Without the note on similar GPUs, which a GPU that is not in the table has.
    name = hardware.name.partition(TIMES_OF)[0]
    checked = Results.read_or_none(quick_results_file(name))
    if for_run and (checked is None or checked.timed_out):
        say(f"Trying what works on {name}, once: at most {QUICK_SECONDS:g} s.")
        checked = results(QUICK, QUICK_SECONDS)
        if "capability" not in checked.device:  # torch sees no GPU, which the run reports
            return {}
        with suppress(OSError):  # the next run checks again
            checked.write(quick_results_file(name))
    checks = checked.results if checked else ()
    return {check.name: check.detail for check in checks if check.state == "failed"}
