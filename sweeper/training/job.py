"""One call to train, and what it leaves behind: results, item losses, weights.

Knows what a result holds; knows nothing of how a model is trained.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from sweeper.artifact import write_text
from sweeper.backend import Decision, Interrupted
from sweeper.strategies.base import Strategy
from sweeper.tasks.base import Evaluation
from sweeper.tasks.classification import Classification
from sweeper.training.artifacts import TrainedRecord, save_trained
from sweeper.training.measure import Judge
from sweeper.training.memory_guard import Batching
from sweeper.training.progress import Progress
from sweeper.training.versions import versions
from sweeper.training.workshop import Workshop
from sweeper.trials import Failure, FailureKind, RungReport, State, TrialConfig, TrialResult

ITEM_LOSSES = "item_losses.json"
WEIGHTS = "weights"


@dataclass(frozen=True)
class Final:
    """The trial's result on the whole validation split, and the rung whose weights gave it."""

    rung: int
    evaluation: Evaluation


@dataclass
class Job:
    """One trial to train.

    Args:
        workshop: Of the trial's base model.
        config: What to train.
        folder: Of this attempt.
        report: Told of each rung once, over all retries.
        should_stop: Asked at each step.
    """

    workshop: Workshop
    config: TrialConfig
    folder: Path
    report: Callable[[RungReport], Decision]
    should_stop: Callable[[], bool]
    progress: Progress = field(default_factory=Progress)
    batching: Batching = field(init=False)
    peak_memory_gib: float | None = None
    _reported: int = 0
    _started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.batching = Batching(
            self.config.micro_batch,
            self.config.gradient_accumulation_steps,
            self.config.evaluation_batch,
        )

    @property
    def mixed(self) -> bool:
        """Whether to compute in bf16 under autocast."""
        return self.config.precision == "bf16-mixed"

    def judge(self) -> Judge:
        """Scores this trial's models on validation."""
        return Judge(
            self.workshop.task,
            self.workshop.items("validation"),
            self.batching.evaluation,
            self.mixed,
            self.should_stop,
        )

    def tell(
        self, rung: int, evaluation: Evaluation, train_loss: float | None, epochs: float
    ) -> Decision:
        """Report a rung, unless an earlier try of the same trial has.

        Raises:
            Interrupted: The answer was to stop.
        """
        if rung <= self._reported:
            return Decision.CONTINUE
        self._reported = rung
        decision = self.report(
            RungReport(
                number=self.config.number,
                attempt=self.config.attempt,
                rung=rung,
                validation_loss=evaluation.loss,
                items=len(evaluation.losses),
                train_loss=train_loss,
                optimizer_steps=self.progress.steps,
                epochs=epochs,
                tokens=self.progress.tokens,
                training_seconds=self.progress.training_seconds,
                evaluation_seconds=self.progress.evaluation_seconds,
                metrics=evaluation.metrics,
            )
        )
        if decision is Decision.STOP:
            raise Interrupted
        return decision

    def completed(self, strategy: Strategy, model: nn.Module, final: Final) -> TrialResult:
        """Write what a completed trial leaves behind, and give its result."""
        self._write_item_losses(final.evaluation)
        if self.config.keep_weights:
            save_trained(self.folder / WEIGHTS, model, strategy, self._record(strategy))
        return self._result(
            "COMPLETE",
            **parameter_counts(model),
            validation_loss=final.evaluation.loss,
            best_rung=final.rung,
            metrics=final.evaluation.metrics,
            item_losses=ITEM_LOSSES,
            weights=WEIGHTS if self.config.keep_weights else None,
        )

    def pruned(self, model: nn.Module, rung: int) -> TrialResult:
        """The result of a trial that was told to end at a rung."""
        return self._result("PRUNED", **parameter_counts(model), pruned_at_rung=rung)

    def failed(
        self,
        kind: FailureKind,
        detail: str,
        needed_gib: float | None = None,
        had_gib: float | None = None,
    ) -> TrialResult:
        """The result of a trial that could not be finished."""
        detail = detail.strip().splitlines()[0]
        failure = Failure(kind=kind, detail=detail, needed_gib=needed_gib, had_gib=had_gib)
        return self._result("FAIL", failure=failure)

    def _result(self, state: State, **known: Any) -> TrialResult:
        progress, config = self.progress, self.config
        training, evaluation = progress.training_seconds, progress.evaluation_seconds
        return TrialResult(
            number=config.number,
            attempt=config.attempt,
            seed=config.seed,
            state=state,
            optimizer_steps=progress.steps,
            tokens=progress.tokens,
            training_seconds=training,
            evaluation_seconds=evaluation,
            setup_seconds=max(0.0, time.perf_counter() - self._started - training - evaluation),
            peak_memory_gib=self.peak_memory_gib,
            micro_batch=self.batching.micro,
            data_fingerprint=self.workshop.dataset.fingerprint,
            model_revision=self.workshop.facts.revision,
            versions=versions(),
            **known,
        )

    def _record(self, strategy: Strategy) -> TrainedRecord:
        task, facts = self.workshop.task, self.workshop.facts
        dtype = strategy.base_dtype(self.config.precision)
        return TrainedRecord(
            task=self.config.task,
            strategy=self.config.strategy,
            parameters=dict(self.config.parameters),
            base_model=facts.id,
            base_revision=facts.revision,
            base_dtype=str(dtype).removeprefix("torch."),
            sequence_length=task.sequence_length,
            labels=self.workshop.dataset.labels,
            pooling=task.pooling if isinstance(task, Classification) else None,
        )

    def _write_item_losses(self, evaluation: Evaluation) -> None:
        examples = self.workshop.items("validation").examples
        write_text(
            self.folder / ITEM_LOSSES,
            json.dumps(
                {
                    "keys": [example.key for example in examples],
                    "losses": evaluation.losses.tolist(),
                    "scores": evaluation.scores.tolist(),
                    "weights": evaluation.weights.tolist(),
                }
            ),
        )


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """How many parameters train, and how many there are."""
    sizes = [(weight.numel(), weight.requires_grad) for weight in model.parameters()]
    return {
        "trainable_parameters": sum(size for size, trains in sizes if trains),
        "total_parameters": sum(size for size, _ in sizes),
    }
