"""Weights & Biases: a group for the sweep, a run for each trial, and one that holds the report."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb

from sweeper.features.tracking.listener import (
    Tracker,
    final_figures,
    parameters,
    reason,
    rung_figures,
)
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.safe_text import without_secrets
from sweeper.spec import Scalar
from sweeper.trials import RungReport, TrialConfig, TrialResult

# The project without ``WANDB_PROJECT``.
PROJECT = "sweeper"
_STEP_METRIC = "optimizer_steps"


class Wandb(Tracker):
    """Logs to the project ``WANDB_PROJECT``; ``WANDB_MODE=offline`` only writes files."""

    name = "wandb"

    def __init__(self, run: RunFolder, plan: Plan) -> None:
        super().__init__(run, plan)
        self._sweep_id = ""
        self._runs: dict[str, Any] = {}

    @property
    def where(self) -> str:
        names = ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT")
        return without_secrets(" ".join(os.environ.get(name, "") for name in names).strip())

    def start(self, sweep_id: str) -> str:
        self._sweep_id = sweep_id or uuid.uuid4().hex[:8]
        return self._sweep_id

    def trial_started(self, config: TrialConfig, trial_id: str) -> str:
        trial_id = trial_id or f"{self._sweep_id}-{config.number}"
        wandb_run = self._init(trial_id, f"trial {config.number}", "trial", parameters(config))
        wandb_run.define_metric(_STEP_METRIC)
        wandb_run.define_metric("*", step_metric=_STEP_METRIC)
        self._runs[trial_id] = wandb_run
        return trial_id

    def rung(self, trial_id: str, report: RungReport) -> None:
        self._runs[trial_id].log({**rung_figures(report), _STEP_METRIC: report.optimizer_steps})

    def trial_ended(self, trial_id: str, config: TrialConfig, result: TrialResult) -> None:
        notes = {"state": result.state, "reason": reason(result)}
        self._runs[trial_id].summary.update({**final_figures(result), **notes})
        self._runs.pop(trial_id).finish(exit_code=1 if result.state == "FAIL" else 0)

    def trial_interrupted(self, trial_id: str) -> None:
        self._runs.pop(trial_id).finish(exit_code=1)

    def ended(
        self, sweep: str, state: str, figures: Mapping[str, float], text: str, files: Sequence[Path]
    ) -> None:
        facts = {"task": self.plan.facts.task, "seed": self.plan.seed}
        wandb_run = self._init(sweep, self.title, "sweep", facts)
        wandb_run.summary.update({**figures, "state": state, "verdict": text})
        report = wandb.Artifact(f"report-{sweep}", type="report")
        for path in files:
            report.add_file(str(path))
        wandb_run.log_artifact(report)
        wandb_run.finish(exit_code=0 if state in ("complete", "timeout") else 1)
        wandb.teardown()  # waits until the client's process has written its files

    def _init(self, run_id: str, name: str, kind: str, config: Mapping[str, Scalar]) -> Any:
        return wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            group=self.title,
            name=name,
            id=run_id,
            job_type=kind,
            config=dict(config),
            dir=str(self.folder),
            resume="allow",
            reinit="create_new",
            # This process only logs: its output, code and system metrics are of no interest.
            settings=wandb.Settings(
                console="off", disable_git=True, disable_code=True, x_disable_stats=True
            ),
        )
