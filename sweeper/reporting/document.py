"""The types of ``report.json``, from which the page is made.

It holds the findings and the part of the plan that the page shows, so that a report can be drawn
again anywhere, without the run folder.
"""

from __future__ import annotations

from pydantic import Field

from sweeper import __version__
from sweeper.artifact import Artifact, Record
from sweeper.facts.record import AugmentationFacts, SourceFacts
from sweeper.findings.record import Findings
from sweeper.findings.study.model_strategy_pairs import by_pair
from sweeper.objective import LOSS, Objective
from sweeper.plans import (
    Answer,
    Budget,
    Duration,
    MemoryEstimate,
    Parameter,
    Plan,
    Reason,
    Rejected,
)


class PlannedStrategy(Record):
    """One strategy as it was planned: fields of its ``plans.Candidate``."""

    strategy: str
    model: str
    memory: MemoryEstimate
    duration: Duration
    micro_batch: int
    gradient_accumulation_steps: int
    precision: str
    trainable_parameters: int
    expected_quality: str
    parameters: dict[str, Parameter]
    reasons: tuple[Reason, ...]
    cautions: tuple[Reason, ...]


class PlannedData(Record):
    """The data set in a few numbers."""

    path: str | None
    revision: str | None = None
    commits: dict[str, str] = Field(default_factory=dict)
    rows: int
    train_rows: int
    classes: int
    format: str | None
    sources: tuple[SourceFacts, ...] = ()
    augmentation: AugmentationFacts | None = None
    changes: tuple[str, ...] = ()


class PlanShown(Record):
    """The part of a plan that a report shows."""

    recommended: str
    device: str
    hardware: str
    memory_limit_gib: float
    data: PlannedData
    strategies: tuple[PlannedStrategy, ...]
    rejected: tuple[Rejected, ...]
    answers: tuple[Answer, ...]
    warnings: tuple[Reason, ...]
    budget: Budget
    objective: Objective = LOSS


class Report(Artifact):
    """Everything that is in a report."""

    sweeper_version: str
    findings: Findings
    plan: PlanShown
    no_charts: str = Field("", description="why the page has no charts; empty where it has")


def document(findings: Findings, plan: Plan, no_charts: str = "") -> Report:
    """The document of one run.

    Args:
        no_charts: Why charts are left out; empty to draw them.
    """
    return Report(
        sweeper_version=__version__,
        findings=findings,
        plan=_shown(by_pair(plan)[0]),
        no_charts=no_charts,
    )


def _shown(plan: Plan) -> PlanShown:
    facts, data = plan.facts, plan.facts.data
    return PlanShown.taken_from(
        plan,
        device=facts.hardware.device,
        hardware=facts.hardware.name,
        memory_limit_gib=facts.hardware.memory_gib,
        data=PlannedData.taken_from(
            data,
            classes=len(data.labels),
            changes=tuple(change.said for change in data.changes),
        ),
        strategies=tuple(map(PlannedStrategy.taken_from, plan.candidates)),
        objective=plan.objective.model_copy(update={"folder": ""}),
    )
