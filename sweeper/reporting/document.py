"""The types of ``report.json``, from which the page is rendered.

It holds the findings and the shown part of the plan, so that a report can be rendered without the
run folder.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import Field

from sweeper import units
from sweeper.artifact import Artifact, Record
from sweeper.facts.record import DataSize
from sweeper.features.parts import record_of
from sweeper.findings import words
from sweeper.findings.findings import Findings, NotMeasured
from sweeper.objective import LOSS, Objective
from sweeper.plans import Budget, Candidate, Reason, Rejected
from sweeper.spec import Scalar
from sweeper.trials import Trial

R = TypeVar("R", bound=Record)


class PlannedData(DataSize):
    """The size of the data set, and changes of its rows."""

    classes: int
    changes: tuple[str, ...] = ()


class PlanExcerpt(Record):
    """The part of a plan that a report shows."""

    recommended: str
    device: str
    hardware: str
    memory_limit_gib: float
    data: PlannedData
    strategies: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    warnings: tuple[Reason, ...]
    budget: Budget
    objective: Objective = LOSS

    @property
    def time_unit(self) -> str:
        """The unit of training time."""
        return "GPU-minutes" if self.device == "cuda" else "minutes"

    @property
    def memory_name(self) -> str:
        """The name of the device's memory."""
        return "GPU memory" if self.device == "cuda" else "memory"

    def searched_values(self, trial: Trial) -> dict[str, Scalar]:
        """The values of a trial's searched parameters."""
        planned = next((c for c in self.strategies if c.strategy == trial.strategy), None)
        names = {name for name, p in planned.parameters.items() if p.searched} if planned else ()
        return {name: v for name, v in trial.config.parameters.items() if name in names}


class Report(Artifact):
    """The content of a report.

    Sections add sentences below the verdict (``because``), below its limits (``confidence``) and to
    ``MODEL_CARD.md`` (``card``).
    """

    sweeper_version: str
    findings: Findings
    plan: PlanExcerpt
    sections: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="figures of each section, by its id"
    )
    missing: dict[str, NotMeasured] = Field(
        default_factory=dict, description="why sections have no figures, by id"
    )
    because: tuple[str, ...] = ()
    confidence: tuple[str, ...] = ()
    card: tuple[str, ...] = ()
    no_charts: str = Field("", description="why the page has no charts; empty if it has some")

    def figures(self, section: str, kind: type[R]) -> R | None:
        """The figures of a section as the section's type ``kind``; None if it has none."""
        return record_of(self.sections, section, kind)

    def data_lines(self) -> tuple[str, ...]:
        """The parts of the training data, and how much of each the best trial was trained on."""
        data, trial = self.plan.data, self.findings.best
        lines = []
        for part in data.sources:
            weight = "" if part.weight is None else f", weight {units.number(part.weight)}"
            rows = ", ".join(f"{count:,} {split}" for split, count in part.rows.items())
            loss = trial.result.validation_by_source.get(part.title) if trial else None
            scored = "" if loss is None else f"; validation loss {words.number(loss)}"
            lines.append(f"Source {part.title}: {rows} rows{weight}{scored}")
        if data.further_rows:
            further = ", ".join(
                f"{count:,} {source}" for source, count in data.further_rows.items()
            )
            lines.append(f"Further rows, only in train: {further}")
        if trial is not None and trial.result.seen:
            seen = "; ".join(
                f"{part.rows:,} rows ({part.tokens:,} tokens) of {name}"
                for name, part in trial.result.seen.items()
            )
            lines.append(f"Trial {trial.number} was trained on {seen}, counting repetitions")
        return tuple(lines)
