"""TensorBoard: a folder of event files for each trial, and one for the sweep.

tensorboardX writes the files: torch's own writer loads torch and needs all of TensorBoard.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from sweeper.features.tracking.listener import (
    Tracker,
    final_figures,
    parameters,
    reason,
    rung_figures,
)
from sweeper.plans import Plan
from sweeper.runfolder import RunFolder
from sweeper.trials import RungReport, TrialConfig, TrialResult


class Tensorboard(Tracker):
    """Writes into ``listeners/tracking/tensorboard``. An id is the name of a folder there."""

    name = "tensorboard"

    def __init__(self, run: RunFolder, plan: Plan) -> None:
        super().__init__(run, plan)
        self._writers: dict[str, SummaryWriter] = {}

    def start(self, sweep_id: str) -> str:
        return sweep_id or "sweep"

    def trial_started(self, config: TrialConfig, trial_id: str) -> str:
        trial_id = trial_id or f"trial-{config.number}"
        self._writers[trial_id] = self._writer(trial_id)
        return trial_id

    def rung(self, trial_id: str, report: RungReport) -> None:
        self._scalars(self._writers[trial_id], rung_figures(report), report.optimizer_steps)

    def trial_ended(self, trial_id: str, config: TrialConfig, result: TrialResult) -> None:
        writer, figures = self._writers.pop(trial_id), final_figures(result)
        for summary in hparams(parameters(config), figures):
            writer.file_writer.add_summary(summary)
        self._scalars(writer, figures, result.optimizer_steps)
        text = ": ".join(filter(None, (result.state, reason(result))))
        writer.add_text("state", text, result.optimizer_steps)
        writer.close()

    def trial_interrupted(self, trial_id: str) -> None:
        self._writers.pop(trial_id).close()

    def ended(
        self, sweep: str, state: str, figures: Mapping[str, float], text: str, files: Sequence[Path]
    ) -> None:
        writer = self._writer(sweep)
        self._scalars(writer, figures, 0)
        writer.add_text("state", state)
        writer.add_text("verdict", text)
        for path in files:
            if path.suffix == ".md":
                writer.add_text("report", path.read_text(encoding="utf-8"))
        writer.close()

    def _writer(self, name: str) -> SummaryWriter:
        # Names of files have whole seconds: without the suffix, one could replace another.
        folder = self.folder / "tensorboard" / name
        return SummaryWriter(logdir=str(folder), filename_suffix=f".{time.time_ns()}")

    def _scalars(self, writer: SummaryWriter, figures: Mapping[str, float], step: int) -> None:
        for key, value in figures.items():
            writer.add_scalar(key, value, step)
        writer.flush()
