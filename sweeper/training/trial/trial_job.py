"""One trial as a job, with its reports and its files: result, item losses, weights."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import sweeper
from sweeper.backend import Decision, Interrupted
from sweeper.cache import home
from sweeper.evaluation.evaluator import Evaluator, autocast
from sweeper.evaluation.objective_values import (
    ObjectiveScore,
    first,
    from_decisions,
    from_generation,
)
from sweeper.facts.record import TrainingSetup
from sweeper.plans import Half, Plan, autocast_dtype
from sweeper.runfolder import ITEM_LOSSES, WEIGHTS
from sweeper.safe_text import without_secrets
from sweeper.strategies.strategy import Strategy
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.classification import Classification
from sweeper.tasks.generate_label import GenerateLabel
from sweeper.tasks.task import Evaluation
from sweeper.textfiles import write_text
from sweeper.training.base_model.base_lender import BaseLender
from sweeper.training.base_model.bases import keep_in, remember_folder
from sweeper.training.base_model.context import ModelContext
from sweeper.training.base_model.shared import SharedModel
from sweeper.training.checkpoints import Checkpoint
from sweeper.training.loop.checkpointing import Saved, open_checkpoint
from sweeper.training.loop.extension import ItemMeasure
from sweeper.training.loop.ranks_here import gathered
from sweeper.training.loop.training_progress import TrainingProgress
from sweeper.training.trial.artifacts import TrainedRecord, save_trained
from sweeper.trials import (
    MEASURE_ITEMS,
    Failure,
    FailureKind,
    FirstItems,
    Measure,
    PreparedBase,
    RungReport,
    Seen,
    State,
    StopKind,
    TrialConfig,
    TrialResult,
)

log = logging.getLogger(__name__)

# Packages whose versions results record.
_PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "tokenizers",
    "bitsandbytes",
    "scikit-learn",
    "numpy",
)


class StopReason(NamedTuple):
    """Why a trial stops before its last rung."""

    kind: StopKind
    text: str


@dataclass(frozen=True)
class Final:
    """The trial's evaluation on the whole validation split, and the rung of its weights.

    ``stopped_at`` is the rung at which training stopped early, for the reason ``stopped_by``.
    """

    rung: int
    evaluation: Evaluation
    stopped_by: StopReason | None = None
    stopped_at: int | None = None


@dataclass
class TrialJob:
    """One trial to train.

    Args:
        report: Receiver of rung reports, called once for each rung over all retries.
        run: The run's folder. A base that a feature made is linked into it, for the adapters; if
            None, the base stays in the cache only.
        checkpoint: Folder of the checkpoint of an interrupted attempt, to be continued.
        checkpoints_folder: Folder for checkpoints; several ranks share one.
        setup: The set-up that is trained: the config's, with smaller batches if memory ran out.
        ranks_plan: Plan by which ranks load models; None if one device trains the trial.
        saved: The opened checkpoint from which the next training continues.
        reports: The reports of the rungs so far.
        evaluating: Whether the model is being scored, so that a retry halves the evaluation batch.
        attention: Name in transformers of the attention that is used.
        padding_free: Whether texts are packed into one row without padding.
        prepared: The base that a feature made for this trial.
        measured: Measures of the trained model by sweeper's features.
        feature_seconds: Seconds that sweeper's features took, by name of the feature.
    """

    shared: SharedModel
    config: TrialConfig
    folder: Path
    report: Callable[[RungReport], Decision]
    run: Path | None = None
    checkpoint: Path | None = None
    ranks_plan: Plan | None = None
    saved: Saved | None = None
    reports: list[RungReport] = field(default_factory=list)
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    checkpoints_folder: Path = field(init=False)
    setup: TrainingSetup = field(init=False)
    evaluating: bool = False
    peak_memory_gib: float | None = None
    attention: str | None = None
    padding_free: bool | None = None
    prepared: PreparedBase | None = None
    measured: Mapping[str, ItemMeasure] = field(default_factory=dict)
    feature_seconds: dict[str, float] = field(default_factory=dict)
    _last_reported_rung: int = 0
    _started: float = field(default_factory=time.perf_counter)
    _cpu_started: float = field(default_factory=time.thread_time)

    def __post_init__(self) -> None:
        self.checkpoints_folder, self.setup = self.folder, self.config.setup

    @property
    def context(self) -> ModelContext:
        """The base model and its data."""
        return self.shared.context

    @property
    def mixed_dtype(self) -> Half | None:
        """The dtype of autocast."""
        return autocast_dtype(self.config.setup.precision)

    def evaluator(self) -> Evaluator:
        """An evaluator that scores this trial's model on validation."""
        return self.context.evaluator("validation", self.setup.evaluation_batch, self.mixed_dtype)

    def prepare_base(self) -> BaseLender:
        """The lender of this trial's base, which a feature makes now if necessary.

        After a retry with smaller batches, the base still counts as made by this trial.
        """
        bases = self.shared.prepared_bases
        prepared = bases.of(self.config, self.setup.micro_batch)
        if prepared is None:
            return self.context.base_lender
        if self.prepared is None or self.prepared.base != prepared.base:
            self.prepared = prepared
        return bases.base_lender(prepared.base)

    def base_fields(self) -> dict[str, Any]:
        """Fields of the result about a base that a feature made."""
        if (prepared := self.prepared) is None:
            return {}
        features = {prepared.feature: prepared.record}
        return {"base": prepared.base, "preparing_seconds": prepared.seconds, "features": features}

    def open_checkpoint(self) -> None:
        """Continue from ``checkpoint``, if that is possible."""
        if self.checkpoint is None:
            return
        data = self.context.dataset.fingerprint
        saved = open_checkpoint(self.checkpoint, self.config, data)
        if isinstance(saved, str):
            log.warning(
                "%s is not used (%s); training starts from clean weights",
                self.checkpoint.name,
                saved,
            )
            return
        self.continue_from(saved)

    def continue_from(self, saved: Saved) -> None:
        """Continue training from a usable checkpoint."""
        self.saved = saved
        self.reports = list(saved.manifest.reports)
        self.prepared = saved.manifest.prepared
        self._last_reported_rung = saved.manifest.rung

    def manifest(self, rung: int) -> Checkpoint:
        """The manifest of a checkpoint at this rung."""
        return Checkpoint(
            rung=rung,
            optimizer_steps=self.progress.steps,
            config=self.config,
            setup=self.setup,
            data_fingerprint=self.context.dataset.fingerprint,
            reports=tuple(self.reports),
            prepared=self.prepared,
        )

    def rung_report(
        self,
        rung: int,
        evaluation: Evaluation,
        train_loss: float | None,
        epochs: float,
        measured: Mapping[str, ItemMeasure] | None = None,
    ) -> RungReport:
        """The report of a rung, with the tokens of all ranks. All ranks must call it together."""
        report = RungReport(
            **self._work_fields(),
            rung=rung,
            validation_loss=evaluation.loss,
            objective=score.value if (score := self.objective_at_rung(evaluation)) else None,
            items=int(evaluation.scored.sum()),
            first_items=self._first_items(evaluation),
            train_loss=train_loss,
            epochs=epochs,
            tokens=sum(gathered(self.progress.tokens)),
            metrics=evaluation.metrics,
            measures={
                name: item_measure.measure for name, item_measure in (measured or {}).items()
            },
        )
        self.add_report(report)
        return report

    def add_report(self, report: RungReport) -> None:
        """Add a report. A retry with smaller batches replaces those of the same and later rungs."""
        earlier = (kept for kept in self.reports if kept.rung < report.rung)
        self.reports = [*earlier, report]

    def objective_at_rung(
        self, evaluation: Evaluation, count: int | None = None
    ) -> ObjectiveScore | None:
        """The objective on the first ``count`` items (all if None).

        None if the objective is the loss, or is measured at the end only.
        """
        objective, context = self.context.objective, self.context
        if objective.is_loss or not objective.at_rungs:
            return None
        first_items = first(evaluation, count)
        return from_decisions(
            objective, context.task, first_items, context.items("validation").examples
        )

    def _objective(self, model: nn.Module, evaluation: Evaluation) -> ObjectiveScore | None:
        """The objective of the trained model on the whole validation split; None for the loss."""
        objective, context = self.context.objective, self.context
        if objective.is_loss:
            return None
        examples, start = context.items("validation").examples, time.perf_counter()
        merged = strategy_named(self.config.strategy).merged(model)
        with torch.no_grad(), autocast(context.device, self.mixed_dtype), merged:
            score = from_decisions(
                objective, context.task, evaluation, examples
            ) or from_generation(
                objective,
                context.task,
                model,
                evaluation.scored_examples(examples),
                context.on_progress,
            )
        self.progress.evaluation_seconds += time.perf_counter() - start
        return score

    def tell(self, report: RungReport) -> Decision:
        """Report a rung, unless this trial has reported it before a retry or an interruption.

        Raises:
            Interrupted: The decision was to stop.
        """
        if report.rung <= self._last_reported_rung:
            return Decision.CONTINUE
        self._last_reported_rung = report.rung
        decision = self.report(report)
        if decision is Decision.STOP:
            raise Interrupted
        return decision

    def _first_items(self, evaluation: Evaluation) -> FirstItems | None:
        """The costs of the items that all rungs score; None if these are the whole split."""
        count = self.config.budget.rung_items
        split_items = len(self.context.items("validation").examples)
        if count >= split_items:
            return None
        if (score := self.objective_at_rung(evaluation, count)) is not None:
            return FirstItems.among(score.costs(self.context.objective).tolist(), split_items)
        losses, weights = evaluation.losses[:count], evaluation.weights[:count]
        return FirstItems.among(losses.tolist(), split_items, weights.tolist())

    def completed(self, strategy: Strategy, model: nn.Module, final: Final) -> TrialResult:
        """Write the files of a completed trial, and return its result."""
        score = self._objective(model, final.evaluation)
        self._write_item_losses(final.evaluation, score)
        if self.config.keep_weights:
            if self.prepared and self.run is not None and not strategy.saves_whole_model:
                keep_in(self.run, self.prepared.base)
            save_trained(
                self.folder / WEIGHTS, model, strategy, self._record(strategy), self.context.task
            )
        return self._result(
            "COMPLETE",
            **parameter_counts(model),
            validation_loss=final.evaluation.loss,
            objective=score.value if score else None,
            best_rung=final.rung,
            metrics=final.evaluation.metrics
            | ({self.context.objective.metric: score.value} if score else {}),
            item_losses=ITEM_LOSSES,
            validation_by_source=self._loss_by_source(final.evaluation),
            stopped_at_rung=final.stopped_at,
            stopped_by=final.stopped_by.kind if final.stopped_by else None,
            stopped_because=final.stopped_by.text if final.stopped_by else "",
            measures=self._measures(),
            **self._weights_fields(strategy),
            notes=self.context.notes("train", "validation"),
        )

    def pruned(self, model: nn.Module, rung: int) -> TrialResult:
        """The result of a trial that was pruned at a rung."""
        return self._result("PRUNED", **parameter_counts(model), pruned_at_rung=rung)

    def failed(self, kind: FailureKind, detail: str, **figures: Any) -> TrialResult:
        """The result of a trial that could not be finished."""
        detail = without_secrets(detail.strip().splitlines()[0])
        return self._result("FAIL", failure=Failure(kind=kind, detail=detail, **figures))

    def _result(self, state: State, **fields: Any) -> TrialResult:
        progress, config = self.progress, self.config
        preparing_seconds = self.prepared.seconds if self.prepared else 0.0
        work = self._work_fields()
        # Seconds of this attempt that have a field of their own; the others are set-up.
        working_seconds = preparing_seconds + sum(self.feature_seconds.values())
        working_seconds += work["training_seconds"] + work["evaluation_seconds"]
        working_seconds -= progress.interrupted
        return TrialResult(
            **work,
            seed=config.seed,
            state=state,
            tokens=progress.tokens,
            seen={name: Seen(rows=r, tokens=t) for name, (r, t) in sorted(progress.seen.items())},
            setup_seconds=max(0.0, time.perf_counter() - self._started - working_seconds),
            feature_seconds=self.feature_seconds,
            waited_seconds=self._waiting_seconds(),
            **self.base_fields(),
            peak_memory_gib=self.peak_memory_gib,
            micro_batch=self.setup.micro_batch,
            evaluation_batch=self.setup.evaluation_batch,
            attention=self.attention,
            padding_free=self.padding_free,
            data_fingerprint=self.context.dataset.fingerprint,
            model_revision=self.context.facts.revision,
            versions=versions(),
            **fields,
        )

    def _work_fields(self) -> dict[str, Any]:
        """The fields of a report and of a result about the trial and its work so far."""
        config, progress = self.config, self.progress
        return {
            "number": config.number,
            "attempt": config.attempt,
            "optimizer_steps": progress.steps,
            "training_seconds": progress.training_seconds,
            "evaluation_seconds": progress.evaluation_seconds,
        }

    def _waiting_seconds(self) -> float:
        """Seconds since the start in which this thread waited for a CPU core.

        The compute threads run in step with this thread, so they wait about as long.
        """
        if self.context.device.type != "cpu" or self.ranks_plan is not None:
            return 0.0  # this thread waits for a GPU or for ranks instead
        cpu_seconds = time.thread_time() - self._cpu_started
        return max(0.0, time.perf_counter() - self._started - cpu_seconds)

    def _record(self, strategy: Strategy) -> TrainedRecord:
        task, facts = self.context.task, self.context.facts
        dtype = strategy.base_dtype(self.config.setup.precision)
        is_whole_model = strategy.saves_whole_model
        base = self.prepared.base if self.prepared and not is_whole_model else None
        # A path is private: weights have only the name of a local folder, and its state.
        name = self.context.folder.name if facts.source == "local" else facts.id
        local = facts.source == "local" and not is_whole_model and base is None
        return TrainedRecord.taken_from(
            self.config,
            base_model=name,
            base_revision=facts.revision,
            base_dtype=str(dtype).removeprefix("torch."),
            sequence_length=task.sequence_length,
            labels=self.context.dataset.labels,
            classes_by="generate" if isinstance(task, GenerateLabel) else "head",
            pooling=task.pooling if isinstance(task, Classification) else None,
            base=base,
            facts=facts.model_copy(update={"folder": None, "id": name}),
            base_state=remember_folder(self.context.folder) if local else None,
            precision=self.config.setup.precision,
            system_prompt=self.context.spec.training.system_prompt,
            data_format=self.context.dataset.format,
            columns=dict(self.context.dataset.columns),
            versions=versions(),
        )

    def _weights_fields(self, strategy: Strategy) -> dict[str, Any]:
        """Fields of the result about kept weights: their folder, their size and the base's size."""
        if not self.config.keep_weights:
            return {}
        prepared = self.prepared
        base = home() / prepared.base.folder if prepared else self.context.folder
        base_files = () if strategy.saves_whole_model else base.glob("*.safetensors")
        weights = (path for path in (self.folder / WEIGHTS).rglob("*") if path.is_file())
        return {
            "weights": WEIGHTS,
            "weights_bytes": sum(path.stat().st_size for path in weights),
            "base_bytes": sum(path.stat().st_size for path in base_files),
        }

    def _measures(self) -> dict[str, Measure]:
        """The measures of the result; their values per item are written into a file."""
        items = {
            name: {
                "values": item_measure.values.tolist(),
                "base_values": item_measure.base_values.tolist(),
                "weights": item_measure.weights.tolist(),
            }
            for name, item_measure in self.measured.items()
            if len(item_measure.values)
        }
        if items:
            write_text(self.folder / MEASURE_ITEMS, json.dumps(items))
        return {name: item_measure.measure for name, item_measure in self.measured.items()}

    def _loss_by_source(self, evaluation: Evaluation) -> dict[str, float]:
        """The validation loss on the items of each source, if rows have sources."""
        sources = [example.source for example in self.context.items("validation").examples]
        items_by_source: dict[str, list[int]] = {}
        for item, source in enumerate(sources if any(sources) else ()):
            items_by_source.setdefault(source, []).append(item)
        losses, weights = evaluation.losses, evaluation.weights
        return {
            source: float(np.average(losses[items], weights=weights[items]))
            for source, items in sorted(items_by_source.items())
            if weights[items].sum() > 0
        }

    def _write_item_losses(self, evaluation: Evaluation, score: ObjectiveScore | None) -> None:
        examples = self.context.items("validation").examples
        write_text(
            self.folder / ITEM_LOSSES,
            json.dumps(
                {
                    "keys": [example.key for example in examples],
                    "losses": evaluation.losses.tolist(),
                    "scores": evaluation.scores.tolist(),
                    "weights": evaluation.weights.tolist(),
                }
                | ({"objective": evaluation.on_all_items(score.items).tolist()} if score else {})
            ),
        )


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Numbers of trainable and of all parameters."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return {
        "trainable_parameters": sum(size for size, trains in sizes if trains),
        "total_parameters": sum(size for size, _ in sizes),
    }


@cache
def versions() -> dict[str, str]:
    """Versions by name: of packages, ``python``, and ``cuda`` if torch has it."""
    installed = {"python": platform.python_version(), "sweeper": sweeper.__version__}
    for package in _PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.version.cuda:
        installed["cuda"] = torch.version.cuda
    return installed
