"""transformers' Trainer with the task's loss, the strategy's optimizer groups and our order.

Knows nothing of rungs, reports or trials; callbacks do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from sweeper.tasks.base import Feature, Task
from sweeper.training.measure import autocast
from sweeper.training.progress import Progress
from sweeper.training.schedule import Schedule

# Gradients are clipped at this norm, transformers' and most papers' value, unless a trial says
# otherwise.
MAX_GRAD_NORM = 1.0
# The same update in one kernel. Measured on a CPU, full fine-tuning of MiniLM at 16 short texts a
# step: a step takes 10% to 33% less time.
_FASTER = {"adamw_torch": "adamw_torch_fused"}
_TERMS, _TOKENS = "sweeper_terms", "sweeper_tokens"


def arguments(
    folder: Path,
    *,
    steps: int,
    micro_batch: int,
    accumulation: int,
    plan: Schedule,
    parameters: dict[str, Any],
    optimizer: str,
    seed: int,
    device: torch.device,
) -> TrainingArguments:
    """Trainer arguments that neither log, save, evaluate nor report: callbacks do what is needed.

    Precision is not set here: autocast is entered around the loss, so that the model's own
    ``forward`` is not wrapped and the base can be given back as it was.
    """
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        learning_rate=float(parameters["learning_rate"]),
        weight_decay=float(parameters.get("weight_decay", 0.0)),
        max_grad_norm=float(parameters.get("max_grad_norm", MAX_GRAD_NORM)),
        lr_scheduler_type=plan.kind,
        lr_scheduler_kwargs=plan.options,
        warmup_steps=plan.warmup_steps,
        optim=_FASTER.get(optimizer, optimizer),
        seed=seed,
        data_seed=seed,
        use_cpu=device.type == "cpu",
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        remove_unused_columns=False,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


class TrialTrainer(Trainer):
    """Trains one model for one trial.

    Args:
        model: As the task assembled it.
        task: Gives the loss and counts its terms.
        features: Of the train split.
        order: Indices of each epoch.
        groups: Optimizer groups, learning rates included.
        progress: Told of every micro-batch.
        mixed: Whether to compute in bf16 under autocast.
        settings: See ``arguments``.
        callbacks: What happens after each step.
    """

    # The loss is divided by the terms of the whole accumulated batch in ``compute_loss``.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        features: Sequence[Feature],
        order: Sampler[int],
        groups: list[dict[str, Any]],
        progress: Progress,
        mixed: bool,
        settings: TrainingArguments,
        callbacks: list[TrainerCallback],
    ) -> None:
        # Several visible GPUs would make Trainer wrap the model in DataParallel.
        if settings.n_gpu > 1:
            settings._n_gpu = 1
        super().__init__(
            model=model,
            args=settings,
            data_collator=self._collate,
            train_dataset=features,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)
        self._task = task
        self._order = order
        self._groups = groups
        self._progress = progress
        self._mixed = mixed

    def _collate(self, features: Sequence[Feature]) -> dict[str, Any]:
        batch: dict[str, Any] = dict(self._task.collate(features))
        counts = {_TERMS: self._task.weight(batch), _TOKENS: self._task.tokens(batch)}
        return batch | counts

    def get_train_dataloader(self) -> DataLoader[Any]:
        loader = DataLoader(
            self.train_dataset,
            batch_size=self._train_batch_size,
            sampler=self._order,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        self.optimizer = kind(self._groups, **options)
        return self.optimizer

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        terms = torch.tensor(float(sum(batch[_TERMS] for batch in batches)), device=device)
        if self.args.world_size > 1:
            terms = self.accelerator.gather(terms).sum()
        # A batch may hold only items whose answer did not fit: no terms, and a loss of zero.
        return batches, terms.clamp_min(1.0)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        terms, tokens = inputs.pop(_TERMS), inputs.pop(_TOKENS)
        with autocast(self.args.device, self._mixed):
            loss = self._task.loss(model, inputs)
        self._progress.add(loss.total, terms, tokens)
        # DDP averages gradients over the ranks, but the terms are those of all ranks.
        return loss.total * (self.accelerator.num_processes / num_items_in_batch)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """None are counted: walking over all parameters at each step costs host time."""
        return 0
