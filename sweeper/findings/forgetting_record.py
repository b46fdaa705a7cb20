"""What a model forgot, by task of general capability and by trial. Only types."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeper.artifact import Record
from sweeper.findings.figures import Interval

Retention = Literal["kept", "lost", "unresolved"]


class GeneralTask(Record):
    """One trial against its base on one task of general capability, on the same items.

    ``forgetting`` is what was lost in points, with its interval over items (one training); a point
    is a hundredth of a share or of a nat per token. ``detectable_points`` is the smallest true
    loss that these items would show in four of five studies.
    """

    task: str
    kind: str
    metric: str
    unit: Literal["points", "nats/token"]
    higher_is_better: bool
    harness: str
    shots: int | None = None
    items: int
    total_items: int
    trial: int
    strategy: str
    base: Interval
    tuned: Interval
    forgetting: Interval
    detectable_points: float
    adjusted_p: float = Field(description="Holm, over the tasks of this trial")
    outcome: Retention
    more_items: int | None = Field(None, description="further items that would settle it")


class TrialForgetting(Record):
    """One completed trial's loss on general text, before and after, beside its loss on the task."""

    trial: int
    strategy: str
    task_loss: float
    general_loss: float
    general_loss_base: float
    forgetting: Interval = Field(description="points: hundredths of a nat per token")


class Forgetting(Record):
    """What was lost, by task and by trial. ``front``: no other trial is better in both losses."""

    limit_points: float | None = None
    recommended_trial: int | None = None
    tasks: tuple[GeneralTask, ...] = ()
    trials: tuple[TrialForgetting, ...] = ()
    front: tuple[int, ...] = ()
