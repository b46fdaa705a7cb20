"""MLflow: a parent run for the sweep, a nested run for each trial, the report as its artifacts."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

# The listener tries an unreachable server again, so a request need not wait for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from sweeper.features.tracking.listener import (
    Tracker,
    final_figures,
    model_name,
    parameters,
    reason,
    rung_figures,
)
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.safe_text import without_secrets
from sweeper.spec import Scalar
from sweeper.trials import RungReport, TrialConfig, TrialResult

# The experiment without ``MLFLOW_EXPERIMENT_NAME``.
EXPERIMENT = "sweeper"
# MLflow has no state for a pruned trial; the tag "state" tells it from a complete one.
_TRIAL_STATUS = {"COMPLETE": "FINISHED", "PRUNED": "FINISHED", "FAIL": "FAILED"}
_SWEEP_STATUS = {"complete": "FINISHED", "timeout": "FINISHED", "interrupted": "KILLED"}
# Characters that no metric name may contain (mlflow.utils.validation): pass@1 becomes pass_1.
_INVALID_CHARACTERS = re.compile(r"[^\w./: -]")
_MAX_TAG_CHARACTERS = 5000
"""Limit of MLflow's REST API on a tag's value."""


class Mlflow(Tracker):
    """Logs to ``MLFLOW_TRACKING_URI``, into the experiment ``MLFLOW_EXPERIMENT_NAME``."""

    name = "mlflow"

    def __init__(self, run: RunFolder, plan: Plan) -> None:
        super().__init__(run, plan)
        self._client = MlflowClient()
        self._experiment_id = self._sweep_id = ""

    @property
    def where(self) -> str:
        return without_secrets(mlflow.get_tracking_uri())

    def start(self, sweep_id: str) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        self._experiment_id = (
            experiment.experiment_id
            if experiment is not None
            else self._client.create_experiment(name)
        )
        facts = self.plan.facts
        self._sweep_id = self._open_run(
            sweep_id,
            self.title,
            {
                "task": facts.task,
                "models": ", ".join(model_name(model.id) for model in facts.models),
                "strategies": ", ".join(
                    dict.fromkeys(candidate.strategy for candidate in self.plan.candidates)
                ),
                "seed": self.plan.seed,
            },
        )
        return self._sweep_id

    def trial_started(self, config: TrialConfig, trial_id: str) -> str:
        tags = {"mlflow.parentRunId": self._sweep_id, "origin": config.origin}
        return self._open_run(trial_id, f"trial {config.number}", parameters(config), tags)

    def rung(self, trial_id: str, report: RungReport) -> None:
        self._log(trial_id, rung_figures(report), report.optimizer_steps)

    def trial_ended(self, trial_id: str, config: TrialConfig, result: TrialResult) -> None:
        tags = {"state": result.state, "reason": reason(result)}
        self._log(trial_id, final_figures(result), result.optimizer_steps, tags)
        self._client.set_terminated(trial_id, _TRIAL_STATUS[result.state])

    def trial_interrupted(self, trial_id: str) -> None:
        self._client.set_terminated(trial_id, "KILLED")

    def ended(
        self, sweep: str, state: str, figures: Mapping[str, float], text: str, files: Sequence[Path]
    ) -> None:
        self._log(sweep, figures, 0, {"state": state, "mlflow.note.content": text})
        for path in files:
            self._client.log_artifact(sweep, str(path), "report")
        self._client.set_terminated(sweep, _SWEEP_STATUS.get(state, "FAILED"))

    def _open_run(
        self,
        run_id: str,
        name: str,
        values: Mapping[str, Scalar],
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Open the MLflow run of this id, or a new one if the id is empty, and return its id."""
        if run_id:
            self._client.update_run(run_id, status="RUNNING")
        else:
            created = self._client.create_run(
                self._experiment_id, run_name=name, tags=dict(tags or {})
            )
            run_id = created.info.run_id
        params = [Param(key, str(value)) for key, value in values.items()]
        self._client.log_batch(run_id, params=params)
        return run_id

    def _log(
        self,
        run_id: str,
        figures: Mapping[str, float],
        step: int,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        now = round(time.time() * 1000)
        metrics = [
            Metric(_INVALID_CHARACTERS.sub("_", key), value, now, step)
            for key, value in figures.items()
        ]
        run_tags = [
            RunTag(key, text[:_MAX_TAG_CHARACTERS]) for key, text in (tags or {}).items() if text
        ]
        self._client.log_batch(run_id, metrics=metrics, tags=run_tags)
