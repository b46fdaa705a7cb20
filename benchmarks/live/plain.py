"""What users of other tools train: AutoModelForSequenceClassification.

Full fine-tuning with a new head at the body's learning rate, evaluated after each epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from benchmarks import json_lines
from benchmarks.live.by_sweeper import MODEL
from benchmarks.live.record import Winner
from sweeper.facts.models.packaged import ready_folder

# What sweeper's plan scores at a time; Trainer's own 8 would cost the others seconds.
EVALUATION_BATCH = 64


class Texts:
    """The splits in tokens.

    Args:
        data: Folder with the splits.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        folder = ready_folder(MODEL)
        if folder is None:
            raise SystemExit(f"{MODEL} is not installed")
        self.folder = folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    @cached_property
    def labels(self) -> list[str]:
        """Class names in order."""
        return sorted({row["label"] for row in json_lines.read(self._data / "train.jsonl")})

    def split(self, name: str) -> list[json_lines.Row]:
        """Token ids, mask and class number of each item."""
        rows = json_lines.read(self._data / f"{name}.jsonl")
        encoded = self.tokenizer([row["text"] for row in rows], truncation=True)
        number = {label: place for place, label in enumerate(self.labels)}
        return [
            {
                "input_ids": encoded["input_ids"][place],
                "attention_mask": encoded["attention_mask"][place],
                "labels": number[row["label"]],
            }
            for place, row in enumerate(rows)
        ]

    def model(self) -> Any:
        """The base with a new head."""
        return AutoModelForSequenceClassification.from_pretrained(
            self.folder, num_labels=len(self.labels)
        )


class PlainTrainer(Trainer):
    """Trainer that tells of each evaluation, which covers the whole validation split.

    Args:
        texts: The data.
        folder: For whatever Trainer writes.
        saw: Told the loss.
        settings: Training arguments besides those that keep Trainer quiet.
    """

    def __init__(
        self, texts: Texts, folder: Path, saw: Callable[[float], None], **settings: Any
    ) -> None:
        self._saw = saw
        super().__init__(
            model_init=texts.model,
            args=TrainingArguments(
                output_dir=str(folder),
                eval_strategy="epoch",
                per_device_eval_batch_size=EVALUATION_BATCH,
                use_cpu=True,
                dataloader_pin_memory=False,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **settings,
            ),
            data_collator=DataCollatorWithPadding(texts.tokenizer),
            train_dataset=texts.split("train"),
            eval_dataset=texts.split("validation"),
        )

    def evaluate(self, *arguments: Any, **named: Any) -> dict[str, float]:
        metrics: dict[str, float] = super().evaluate(*arguments, **named)
        self._saw(metrics["eval_loss"])
        return metrics


def trained_again(texts: Texts, folder: Path, settings: dict[str, Any], trial: str) -> Winner:
    """Train the best configuration again, as both libraries' guides do, and score it."""
    trainer = PlainTrainer(texts, folder, lambda _: None, **settings)
    trainer.args.eval_strategy = "no"
    trainer.train()
    return winner(texts, trainer.model, trial, f"full {settings}")


def winner(texts: Texts, model: Any, trial: str, what: str) -> Winner:
    """A model that a search leaves behind, scored on validation and test."""
    validation, _ = item_losses(texts, model, "validation")
    test, right = item_losses(texts, model, "test")
    return Winner(
        trial=trial,
        what=what,
        validation_loss=sum(validation) / len(validation),
        test_loss=sum(test) / len(test),
        test_accuracy=right / len(test),
    )


def item_losses(texts: Texts, model: Any, split: str) -> tuple[list[float], int]:
    """The negative log-likelihood of each item's true class, and how many are right."""
    rows, collate = texts.split(split), DataCollatorWithPadding(texts.tokenizer)
    losses: list[float] = []
    right = 0
    model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), EVALUATION_BATCH):
            batch = dict(collate(rows[start : start + EVALUATION_BATCH]))
            labels = batch.pop("labels")
            logits = model(**batch).logits.float()
            losses += cross_entropy(logits, labels, reduction="none").tolist()
            right += int((logits.argmax(1) == labels).sum())
    return losses, right
