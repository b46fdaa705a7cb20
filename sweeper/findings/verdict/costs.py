"""The cost of the recommended trial: of training it once, and of using it."""

from __future__ import annotations

from sweeper import units
from sweeper.findings.record import Findings, TestedModel, TrialRow


def cost_line(findings: Findings) -> str:
    """Both costs in one sentence; empty if the use of the trial was not measured."""
    wanted = findings.verdict.recommended_trial
    row = next((trial for trial in findings.trials if trial.number == wanted), None)
    tested = next((model for model in findings.tested if model.trial == wanted), None)
    if row is None or row.weights_bytes is None:
        return ""
    memory = f" and {units.gib(row.peak_memory_gib)}" if row.peak_memory_gib is not None else ""
    on_cpu = any(one.beside.endswith("process") for one in findings.predictions)
    memory += " beside the process" if memory and on_cpu else ""
    uses = [_size(row)]
    if row.total_parameters is not None:
        uses.append(f"{units.count(row.total_parameters)} parameters")
    if tested is not None and tested.seconds_per_thousand is not None:
        uses.append(f"{units.duration(tested.seconds_per_thousand)} per 1,000 {_items(tested)}")
    return (
        f"Trial {row.number} costs {units.duration(row.seconds)}{memory} to train; "
        f"to use, {', '.join(uses)}."
    )


def _size(row: TrialRow) -> str:
    own = units.size(row.weights_bytes)
    return f"{own} on a base of {units.size(row.base_bytes)}" if row.base_bytes else own


def _items(tested: TestedModel) -> str:
    return "answers in writing" if tested.generated is not None else "items"
