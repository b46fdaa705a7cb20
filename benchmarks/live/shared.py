"""Like for like: what sweeper trains, for others to search over.

The same LoRA on the same base with the same head, loss, batches, schedule, validation items and
rungs; the base is loaded once. transformers' own Trainer trains it. Knows no search.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import (
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    get_scheduler,
    set_seed,
)

from benchmarks.live.by_sweeper import MODEL, STRATEGY
from benchmarks.live.record import Winner
from sweeper.evaluation.evaluator import Evaluator, autocast
from sweeper.execution.next_attempt import configure
from sweeper.facts.gather import gather
from sweeper.facts.record import Split
from sweeper.hyperparameters import BATCH
from sweeper.planning.planner import make_plan
from sweeper.plans import Configuration, Half, Parameter, autocast_dtype
from sweeper.spec import AimSpec, DataSpec, ModelSpec, Scalar, SearchSpec, Spec
from sweeper.strategies.strategy import strategy as strategy_named
from sweeper.tasks.classification import head_names
from sweeper.tasks.task import Evaluation
from sweeper.training.loop.batch_order import LengthGroupedBatches
from sweeper.training.loop.checkpointing import set_weights, trained_weights
from sweeper.training.loop.quick_steps import quick_steps
from sweeper.training.loop.schedule import rung_steps, schedule
from sweeper.training.torch_backend import TorchBackend
from sweeper.training.trial.assembly import assembled
from sweeper.trials import TrialConfig

Chosen = Mapping[str, Scalar]


class Shared:
    """Data, tokens, base model and space, as a sweep with that seed has them.

    Args:
        data: Folder with the splits.
        seed: Of the sweep.
    """

    def __init__(self, data: Path, seed: int) -> None:
        spec = Spec(
            task="classification",
            models=(ModelSpec(id=MODEL),),
            data=DataSpec(path=str(data)),
            aim=AimSpec(strategies=(STRATEGY,)),
            search=SearchSpec(seed=seed),
        )
        self.plan = make_plan(spec, gather(spec))
        self.candidate = self.plan.candidate(STRATEGY)
        self.base = TorchBackend(self.plan, spec).shared(MODEL)
        self._open = ExitStack()

    @property
    def mixed(self) -> Half | None:
        """What to compute in under autocast."""
        return autocast_dtype(self.candidate.precision)

    @property
    def space(self) -> dict[str, Parameter]:
        """What is searched, within the range that the plan begins with."""
        return {name: one for name, one in self.candidate.parameters.items() if one.searched}

    @property
    def start(self) -> dict[str, Scalar]:
        """Where sweeper's search begins: the plan's default of everything that is searched."""
        return {name: one.default for name, one in self.space.items()}

    def config(self, chosen: Chosen) -> TrialConfig:
        """The configuration that sweeper would train for these values."""
        parameters = self.candidate.defaults() | dict(chosen)
        return configure(
            self.plan,
            Configuration(
                number=0,
                strategy=self.candidate.strategy,
                model=self.candidate.model,
                parameters=parameters,
                origin="search",
            ),
            0,
        )

    def model(self, config: TrialConfig) -> nn.Module:
        """A fresh model on the base, which the last one has given back."""
        self._open.close()
        self._open = ExitStack()
        made = assembled(self.base, strategy_named(STRATEGY), config)
        model = self._open.enter_context(made)
        self._open.enter_context(quick_steps(model))
        return model

    def close(self) -> None:
        """Let the last model give back the base; left to the interpreter's end, that hangs."""
        self._open.close()

    def evaluate(self, model: nn.Module, split: Split, count: int | None = None) -> Evaluation:
        """Score a model on a split, or on its first items."""
        batch, items = self.candidate.evaluation_batch, self.base.context.items(split)
        return Evaluator(self.base.context.task, items, batch, self.mixed).evaluate(model, count)


class LikeTrainer(Trainer):
    """Trains one configuration after another.

    Args:
        shared: What is trained.
        folder: For whatever Trainer writes.
        choose: Gives the configuration of a trial; the argument is the backend's trial, or None.
        saw: Told the rung, its loss, and whether that is of the whole validation split.
    """

    def __init__(
        self,
        shared: Shared,
        folder: Path,
        choose: Callable[[Any], Chosen],
        saw: Callable[[int, float, bool], None],
    ) -> None:
        self.shared = shared
        self.config = shared.config(choose(None))
        self.rung = 0
        self._best: tuple[float, dict[str, Tensor]] | None = None
        self._choose = choose
        self._saw = saw
        super().__init__(
            model_init=self._fresh,
            args=_arguments(folder, self.config),
            data_collator=shared.base.context.task.collate,
            train_dataset=shared.base.context.items("train").features,
            callbacks=[_AtRungs(self)],
        )

    def _fresh(self, trial: Any) -> nn.Module:
        self.config = self.shared.config(self._choose(trial))
        self._best = None
        return self.shared.model(self.config)

    def get_train_dataloader(self) -> DataLoader[Any]:
        items = self.shared.base.context.items("train")
        order = LengthGroupedBatches(items.lengths, self._train_batch_size, self.config.seed)
        loader = DataLoader(
            items.features,
            batch_size=self._train_batch_size,
            sampler=order,
            collate_fn=self.data_collator,
        )
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, self.model)
        strategy = strategy_named(STRATEGY)
        names = head_names(self.model)
        groups = strategy.parameter_groups(self.model, self.config.parameters, names)
        self.optimizer = kind(groups, **options)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        plan = schedule(self.config.parameters, num_training_steps)
        self.lr_scheduler = get_scheduler(
            plan.kind,
            optimizer or self.optimizer,
            num_warmup_steps=plan.warmup_steps,
            num_training_steps=num_training_steps,
            scheduler_specific_kwargs=plan.options,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        task = self.shared.base.context.task.for_training(self.config.parameters)
        with autocast(self.args.device, self.shared.mixed):
            loss = task.loss(model, inputs)
        return loss.total / task.loss_terms(inputs)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """None are counted, as in sweeper."""
        return 0

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The first validation items below the last rung, all of them there.

        At the last one the model goes back to its best rung, where that is better: so does
        sweeper's trial.
        """
        budget = self.config.budget
        if self.rung < budget.rungs:
            loss = self.shared.evaluate(self.model, "validation", budget.rung_items).loss
            if self._best is None or loss <= self._best[0]:
                self._best = loss, trained_weights(self.model)
        else:
            loss = self._at_end(budget.rung_items)
        self._saw(self.rung, loss, self.rung >= budget.rungs)
        metrics = {"eval_loss": loss}
        # Else the end of an epoch, which often is a rung, would be evaluated twice.
        self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _at_end(self, count: int) -> float:
        last = self.shared.evaluate(self.model, "validation")
        if self._best is None or last.losses[:count].mean() <= self._best[0]:
            return last.loss
        kept = trained_weights(self.model)
        set_weights(self.model, self._best[1])
        best = self.shared.evaluate(self.model, "validation")
        if best.loss < last.loss:
            return best.loss
        set_weights(self.model, kept)
        return last.loss

    def _report_to_hp_search(self, trial: Any, step: int, metrics: dict[str, float]) -> None:
        """Rungs and not steps, so that a pruner compares trials of different batches."""
        super()._report_to_hp_search(trial, self.rung, metrics)


class _AtRungs(TrainerCallback):
    """Asks for an evaluation at each rung."""

    def __init__(self, trainer: LikeTrainer) -> None:
        self._trainer = trainer
        self._at: dict[int, list[int]] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # As in sweeper, where Trainer seeds after the model is made: the same dropout in all.
        set_seed(self._trainer.config.seed)
        budget = self._trainer.config.budget
        self._at = rung_steps(state.max_steps, budget.rungs, budget.rung_every)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step in self._at:
            self._trainer.rung = self._at[state.global_step][-1]
            control.should_evaluate = True


def winner(shared: Shared, folder: Path, chosen: Chosen, trial: str) -> Winner:
    """Train the best configuration again, as both libraries' guides do, and score it."""
    trainer = LikeTrainer(shared, folder, lambda _: chosen, lambda *_: None)
    trainer.train()
    validation = shared.evaluate(trainer.model, "validation")
    test = shared.evaluate(trainer.model, "test")
    shared.close()
    what = f"{STRATEGY} {dict(chosen)}"
    return Winner(trial, what, validation.loss, test.loss, test.metrics["accuracy"])


def _arguments(folder: Path, config: TrialConfig) -> TrainingArguments:
    parameters = config.parameters
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.budget.epochs,
        per_device_train_batch_size=int(parameters[BATCH]),
        learning_rate=float(parameters["learning_rate"]),
        seed=config.seed,
        use_cpu=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
