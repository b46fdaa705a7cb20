"""transformers' Trainer with the task's loss, the strategy's optimizer groups and our batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Sampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from sweeper.evaluation.evaluator import autocast
from sweeper.facts.record import TrainingSetup
from sweeper.plans import Half
from sweeper.spec import Scalar
from sweeper.strategies.strategy import Strategy
from sweeper.tasks.classification import head_names
from sweeper.tasks.sequences.joined import pack_texts
from sweeper.tasks.task import Feature, Task
from sweeper.training.loop.checkpointing import WEIGHTS, save_weights, set_weights, trained_weights
from sweeper.training.loop.extension import Extension, FurtherBatch
from sweeper.training.loop.ranks_here import check_wrapped, world_size
from sweeper.training.loop.schedule import schedule
from sweeper.training.loop.training_progress import TrainingProgress

# Gradients are clipped at this norm, transformers' and most papers' value, unless a trial sets
# another.
MAX_GRAD_NORM = 1.0
# At this scale of a float16 loss or below, an overflow is not due to the scale.
_MIN_LOSS_SCALE = 1.0
# Value of ``optim_bits`` in the options of bitsandbytes' 8-bit optimizers.
_EIGHT_BITS = 8
# Keys of counts in a batch, which are removed before the model gets the batch. The last has the
# source and tokens of each row.
_TERMS, _TOKENS, _SOURCES = "sweeper_terms", "sweeper_tokens", "sweeper_sources"
SOURCE_KEY = "source"
"""Key in an encoded row: the source under which the row is counted; may be missing."""


def arguments(
    folder: Path,
    setup: TrainingSetup,
    parameters: Mapping[str, Scalar],
    steps: int,
    seed: int,
    device: torch.device,
) -> TrainingArguments:
    """Trainer arguments without logging, saving, evaluation and reporting: callbacks do these.

    Learning rates and weight decay are not set here: the strategy's optimizer groups hold them
    (``Strategy.parameter_groups``).

    Precision is not set here: autocast wraps the loss computation, so the model's own
    ``forward`` is not wrapped and the next trial gets the base unchanged.

    Args:
        parameters: Hyperparameters of the trial, including schedule and clipping norm.
    """
    lr_schedule = schedule(parameters, steps)
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=setup.micro_batch,
        gradient_accumulation_steps=setup.gradient_accumulation_steps,
        max_grad_norm=float(parameters.get("max_grad_norm", MAX_GRAD_NORM)),
        lr_scheduler_type=lr_schedule.kind,
        lr_scheduler_kwargs=lr_schedule.options,
        warmup_steps=lr_schedule.warmup_steps,
        optim=setup.optimizer,
        seed=seed,
        data_seed=seed,
        use_cpu=device.type == "cpu",
        # None for a single rank: accelerate would look for others.
        ddp_backend="gloo" if device.type == "cpu" and world_size() > 1 else None,
        dataloader_num_workers=0,
        dataloader_pin_memory=device.type == "cuda",
        # The next batch is prepared and copied while the GPU computes this one.
        accelerator_config={"non_blocking": device.type == "cuda"},
        remove_unused_columns=False,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )


@dataclass(eq=False, repr=False)
class TrialTrainer(Trainer):
    """Trains one model for one trial.

    Args:
        features: Encoded rows.
        order: Sampler of the indices of an epoch's rows.
        strategy: Source of the optimizer groups, learning rates included.
        progress: Counts of steps, tokens and losses, which every micro-batch updates.
        mixed_dtype: Dtype of autocast; with float16, the loss is scaled.
        extensions: Additions of sweeper's features. The first with a penalty computes the loss.
        padding_free: Whether the texts of a batch are packed into one row; only for text tasks.
    """

    # The loss is divided by the terms of the whole accumulated batch in ``compute_loss``.
    loss_is_scaled_for_ga = True

    model: nn.Module
    task: Task
    features: InitVar[Sequence[Feature]]
    order: Sampler[int]
    strategy: Strategy
    parameters: Mapping[str, Scalar]
    progress: TrainingProgress
    mixed_dtype: Half | None
    settings: InitVar[TrainingArguments]
    callbacks: InitVar[list[TrainerCallback]]
    extensions: Sequence[Extension] = ()
    padding_free: bool = False

    def __post_init__(
        self,
        features: Sequence[Feature],
        settings: TrainingArguments,
        callbacks: list[TrainerCallback],
    ) -> None:
        # Several visible GPUs would make Trainer wrap the model in DataParallel.
        if settings.n_gpu > 1:
            settings._n_gpu = 1
        super().__init__(
            model=self.model,
            args=settings,
            data_collator=self._collate,
            train_dataset=features,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)
        self._unwrapped = self.model
        if self.mixed_dtype == "float16":
            # With a scaler, accelerate scales the loss, unscales gradients and skips overflows.
            self.accelerator.scaler = torch.amp.GradScaler(settings.device.type)
        self._wrapping_checked = settings.world_size == 1
        self._penalty = next((added for added in self.extensions if added.has_penalty), None)
        self._task_share = math.prod(extension.task_share for extension in self.extensions)
        self._further_batches: list[Iterator[FurtherBatch]] = []

    def _collate(self, features: Sequence[Feature]) -> dict[str, Any]:
        batch: dict[str, Any] = (
            pack_texts(features) if self.padding_free else dict(self.task.collate(features))
        )
        counts: dict[str, Any] = {
            _TERMS: self.task.loss_terms(batch),
            _TOKENS: self.task.tokens(batch),
        }
        if SOURCE_KEY in features[0]:
            counts[_SOURCES] = [(f[SOURCE_KEY], len(f["input_ids"])) for f in features]
        return batch | counts

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self.order

    def get_optimizer_cls_and_kwargs(
        self, args: TrainingArguments, model: nn.Module | None = None
    ) -> tuple[Any, Any]:
        """The optimizer, with the strategy's parameter groups instead of the Trainer's."""
        kind, options = super().get_optimizer_cls_and_kwargs(args, model)
        if options.get("optim_bits") == _EIGHT_BITS:
            # Drop the embeddings of earlier trials that Trainer registered for 32-bit states.
            # Imported here: it takes a second, and few trials need it.
            manager = import_module("bitsandbytes.optim").GlobalOptimManager.get_instance()
            manager.module_weight_config_triple.clear()
        # Made here, since distributing a model replaces the tensors of its weights.
        groups = self.strategy.parameter_groups(
            self._unwrapped, self.parameters, head_names(self._unwrapped)
        )
        return kind, options | {"params": groups}

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.extensions:
            tokens, size = int(self._sum_over_ranks(batches, _TOKENS)), self._train_batch_size
            self._further_batches = [
                extension.further_batches(tokens, size) for extension in self.extensions
            ]
        # A batch may hold only items whose answer did not fit: no terms, and a loss of zero.
        return batches, self._sum_over_ranks(batches, _TERMS).clamp_min(1.0)

    def _sum_over_ranks(self, batches: Sequence[Any], count: str) -> Tensor:
        """A count over the batches of one optimizer step, on all ranks."""
        total = torch.tensor(float(sum(batch[count] for batch in batches)), device=self.args.device)
        return self.accelerator.gather(total).sum() if self.args.world_size > 1 else total

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        for batch in chain.from_iterable(self._further_batches):
            self._train_on(model, batch)
        self._further_batches = []
        return loss

    def _train_on(self, model: nn.Module, further: FurtherBatch) -> None:
        """Add a further batch's gradients in a pass of its own, which takes no more memory than a
        pass of the task."""
        if further.rows:
            tokens = further.task.tokens(further.batch)
            self.progress.count_rows(further.origin, further.rows, tokens)
        inputs = self._prepare_inputs(further.batch)
        with autocast(self.args.device, self.mixed_dtype):
            total = further.task.loss(model, inputs).total
        self.accelerator.backward(total * (further.weight * self.accelerator.num_processes))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        if not self._wrapping_checked:
            check_wrapped(model)
            self._wrapping_checked = True
        terms, tokens = inputs.pop(_TERMS), inputs.pop(_TOKENS)
        for source, count in inputs.pop(_SOURCES, ()):
            self.progress.count_rows(source, 1, count)
        if self._penalty is None:
            with autocast(self.args.device, self.mixed_dtype):
                loss = self.task.loss(model, inputs)
            total = loss.total
        else:
            # In a context of its own, since autocast caches casts that were made without gradient.
            with autocast(self.args.device, self.mixed_dtype):
                reference = self._penalty.reference(self._unwrapped, inputs)
            with autocast(self.args.device, self.mixed_dtype):
                loss, penalty = self._penalty.penalised_loss(model, inputs, reference)
            total = loss.total + penalty
        reported = loss.total if loss.unweighted is None else loss.unweighted
        self.progress.add(reported, terms, tokens)
        # DDP averages gradients over the ranks, but the loss is divided by the terms of all ranks.
        scale = self._task_share * self.accelerator.num_processes
        return total * (scale / num_items_in_batch)

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        scaler = self.accelerator.scaler
        if scaler is not None:
            scaler.unscale_(self.optimizer.optimizer)
        norm = super()._clip_grad_norm(model)
        # At first, float16 gradients overflow: the step is skipped and the scale halved.
        overflows = scaler is not None and not bool(torch.isfinite(torch.as_tensor(norm)))
        expected = overflows and scaler.get_scale() > _MIN_LOSS_SCALE
        self.progress.add_gradient_norm(None if expected else norm)
        return norm

    def write_checkpoint(self) -> Path:
        """Write a checkpoint as Trainer does, and return its folder in ``output_dir``."""
        self._save_checkpoint(self.model, None)
        return Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Save only the trained weights; Trainer would write the whole base."""
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_weights(trained_weights(self.model), folder / WEIGHTS)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        set_weights(model or self.model, load_file(str(Path(resume_from_checkpoint) / WEIGHTS)))

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Zero: counting them would take host time at each step, for a walk over all parameters."""
        return 0


@contextmanager
def trainable_cache(model: nn.Module) -> Iterator[None]:
    """A context in which the model has a fixed list of its trainable weights.

    ``parameters()`` returns only these, ``zero_grad()`` resets only these, and ``train()`` does
    nothing from its second call on, until the model evaluates. Trainability must not change.

    Trainer walks over all modules at each step to switch to training, to clip gradients and to
    reset them: with MiniLM and LoRA on one core, 42 of the 220 ms of a step of 8 short texts.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    original_train, original_parameters = model.train, model.parameters

    def parameters(recurse: bool = True) -> Iterator[nn.Parameter]:
        return iter(trained) if recurse else original_parameters(recurse=False)

    def zero_grad(set_to_none: bool = True) -> None:
        for weight in trained:
            weight.grad = None

    # Not ``model.training``: it is True in a new wrapper whose base is still in evaluation mode.
    training = False

    def train(mode: bool = True) -> nn.Module:
        nonlocal training
        if not (mode and training):
            original_train(mode)
            training = mode
        return model

    overrides = {"parameters": parameters, "zero_grad": zero_grad, "train": train}
    vars(model).update(overrides)
    try:
        yield
    finally:
        for name in overrides:
            del vars(model)[name]
