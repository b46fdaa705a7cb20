"""A race of four learning rates as a contender: what a user can do by hand with ``Trainer``.

All four train for half an epoch. At 1, 2 and 4 epochs the survivors go on from where they stood;
before each, the worse half is dropped, near-ties excepted. The last survivors end with a decay.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from benchmarks.live import plain
from benchmarks.live.record import Diary
from benchmarks.search.race import FACTORS, near_tie, survivors

# Trainer's default rate, and the batch and epochs of Ray's guide.
_RATE, _BATCH, _EPOCHS = 5e-5, 16, 4
_STAGES = (0.5, 1, 2, 4)
_WARMUP, _DECAY = 0.05, 0.125


class _Until(TrainerCallback):
    """Saves and stops at a step."""

    step = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step >= self.step:
            control.should_save = control.should_training_stop = True


@dataclass(eq=False)
class _Entrant:
    """One rate in the race; its weights and optimizer are in its folder between stages."""

    texts: plain.Texts
    folder: Path
    rate: float
    seed: int
    step: int = 0
    losses: list[float] = field(default_factory=list)
    trainer: plain.PlainTrainer | None = None

    @property
    def loss(self) -> float:
        """On the whole validation split; infinite if it diverged."""
        mean = float(np.mean(self.losses))
        return mean if math.isfinite(mean) else math.inf

    def near(self, other: Self) -> bool:
        """Whether the validation items cannot tell it from the other."""
        return near_tie(np.asarray(self.losses), np.asarray(other.losses))

    def train_to(self, step: int, total: int) -> None:
        """Go on to a step of the whole training."""
        decay, warmup = math.ceil(total * _DECAY), math.ceil(total * _WARMUP)
        self.trainer = plain.PlainTrainer(
            self.texts,
            self.folder,
            lambda _: None,
            learning_rate=self.rate,
            per_device_train_batch_size=_BATCH,
            num_train_epochs=_EPOCHS,
            warmup_steps=warmup,
            lr_scheduler_type="warmup_stable_decay",
            lr_scheduler_kwargs={"num_decay_steps": decay},
            weight_decay=0.01,
            seed=self.seed,
        )
        self.trainer.args.eval_strategy = "no"
        until = _Until()
        until.step = step
        self.trainer.add_callback(until)
        before = self.folder / f"checkpoint-{self.step}"
        self.trainer.train(resume_from_checkpoint=str(before) if self.step else None)
        shutil.rmtree(before, ignore_errors=True)
        self.step = step
        self.losses, _ = plain.item_losses(self.texts, self.trainer.model, "validation")


def search(data: Path, folder: Path, trials: int, seed: int, diary: Diary) -> None:
    """Race, and score the winner. There is one race, however many trials are asked for."""
    texts = plain.Texts(data)
    steps = math.ceil(len(texts.split("train")) / _BATCH)
    racing = [
        _Entrant(texts, folder / f"rate-{place}", _RATE * factor, seed)
        for place, factor in enumerate(FACTORS)
    ]
    for stage in _STAGES:
        racing = racing if stage == _STAGES[0] else survivors(racing)
        for one in racing:
            one.train_to(math.ceil(stage * steps), _EPOCHS * steps)
            diary.saw(one.loss, f"{one.rate:.2g}")
    diary.ended({"COMPLETE": len(racing), "PRUNED": len(FACTORS) - len(racing)})
    best = min(racing, key=lambda one: one.loss)
    assert best.trainer is not None
    diary.won(plain.winner(texts, best.trainer.model, f"{best.rate:.2g}", f"full {best.rate:.2g}"))
