"""``sweeper.load``: a trained model from its folder, and its predictions.

Predictions use the tokenizer, chat template, pooling and precision of the trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from sweeper.data.examples import Example, Message, input_key
from sweeper.errors import UsageError
from sweeper.evaluation.evaluator import autocast, to_device
from sweeper.evaluation.objective_values import generate
from sweeper.plans import autocast_dtype
from sweeper.tasks.instruction import Instruction
from sweeper.tasks.task import Feature
from sweeper.training.trial.artifacts import TrainedRecord
from sweeper.training.trial.reload import Reloaded, reload

# Default texts in a batch: larger batches are not faster on two cores.
BATCH_SIZE = 32
# Default length in tokens at which a generated text is cut.
MAX_NEW_TOKENS = 256


@dataclass(frozen=True)
class Prediction:
    """The prediction for one text.

    Args:
        label: The most likely class; None for a model that generates text.
        probabilities: Probability of each class, most likely first; empty for a model that
            generates text.
        text: The generated text; None for a classifier.
    """

    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    text: str | None = None


class Model:
    """A trained model, ready for use."""

    def __init__(self, reloaded: Reloaded) -> None:
        self.model: nn.Module = reloaded.model
        self.record: TrainedRecord = reloaded.record
        self.task = reloaded.task
        self.tokenizer: Any = reloaded.task.tokenizer

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits; empty for a model that generates text."""
        return self.record.labels

    def predict(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = BATCH_SIZE,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> list[Prediction]:
        """The prediction for each text.

        Args:
            batch_size: Texts in a batch; halved if memory is too small.
            max_new_tokens: Length in tokens at which an output is cut.

        Raises:
            UsageError: A text is empty or not a string, or does not fit into memory alone.
        """
        invalid_texts = (
            [texts] if isinstance(texts, str) else [t for t in texts if not isinstance(t, str)]
        )
        if invalid_texts:
            raise UsageError(f"predict takes a list of texts, got {invalid_texts[0]!r:.60}")
        if not texts:
            return []
        empty_numbers = [number for number, text in enumerate(texts, start=1) if not text.strip()]
        if empty_numbers:
            raise UsageError(f"text {empty_numbers[0]} is empty", fix="Leave it out.")
        predictions: list[Prediction | None] = [None] * len(texts)
        examples = [self.example(text) for text in texts]
        for indices, batch in self.batches(
            examples, batch_size=batch_size, max_new_tokens=max_new_tokens
        ):
            for index, prediction in zip(indices, batch, strict=True):
                predictions[index] = prediction
        return cast(list[Prediction], predictions)

    def example(self, text: str) -> Example:
        """A text as an example of the model's task."""
        if self.classes or (
            self.record.data_format == "text" and self.record.task != "instruction"
        ):
            return Example(input_key(text), 1, text=text)
        # The last message is the answer, which predictions do not read.
        messages = Message("user", text), Message("assistant", "?")
        return Example(input_key(text), 1, messages=messages)

    def batches(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int = BATCH_SIZE,
        max_new_tokens: int = MAX_NEW_TOKENS,
    ) -> Iterator[tuple[list[int], list[Prediction]]]:
        """Predictions in batches of similar lengths, longest first.

        Args:
            examples: Inputs; the assistant's last message is not read.
            batch_size: Examples in a batch; halved if memory is too small.

        Yields:
            Indices in ``examples``, and the predictions for these.

        Raises:
            UsageError: One example does not fit into memory alone.
        """
        rows: list[Any] = self._features(examples) if self.classes else self._prompts(examples)
        lengths = [len(row["input_ids"]) if self.classes else len(row) for row in rows]
        order = sorted(range(len(rows)), key=lambda index: (-lengths[index], index))
        start = 0
        while start < len(order):
            indices = order[start : start + batch_size]
            batch = [rows[index] for index in indices]
            try:
                predictions = (
                    self._class_predictions(batch)
                    if self.classes
                    else self._generated_predictions(batch, max_new_tokens)
                )
            except torch.OutOfMemoryError as error:
                if batch_size == 1:
                    raise UsageError(
                        f"a text of {lengths[indices[0]]:,} tokens does not fit into memory",
                        fix="Free memory, use a larger device, or lower --max-new-tokens.",
                    ) from error
                batch_size = max(1, batch_size // 2)
                torch.cuda.empty_cache()
                continue
            yield indices, predictions
            start += len(indices)

    def logits(self, texts: Sequence[str]) -> Tensor:
        """``(texts, classes)`` on the CPU, in float32, in one batch.

        Raises:
            UsageError: The model has no classes.
        """
        if not self.classes:
            raise UsageError("this model generates text and has no classes")
        return self._class_logits(self._features([self.example(text) for text in texts]))

    def _features(self, examples: Sequence[Example]) -> list[Feature]:
        # An example needs a class to be encoded; predictions do not depend on it.
        label = self.classes[0]
        labelled_examples = [Example(e.key, e.line, text=e.text, label=label) for e in examples]
        return self.task.encode(labelled_examples)

    def _class_logits(self, features: Sequence[Feature]) -> Tensor:
        device = next(self.model.parameters()).device
        batch = to_device(self.task.collate(features), device)
        with torch.inference_mode(), autocast(device, autocast_dtype(self.record.precision)):
            return self.task.score(self.model, batch).outputs["logits"]

    def _class_predictions(self, features: Sequence[Feature]) -> list[Prediction]:
        probabilities = self._class_logits(features).softmax(1)
        orders = probabilities.argsort(1, descending=True).tolist()
        names = self.classes
        return [
            Prediction(names[order[0]], {names[number]: row[number] for number in order})
            for order, row in zip(orders, probabilities.tolist(), strict=True)
        ]

    def _prompts(self, examples: Sequence[Example]) -> list[list[int]]:
        assert isinstance(self.task, Instruction)
        return [self.task.prompt(example) for example in examples]

    def _generated_predictions(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int
    ) -> list[Prediction]:
        assert isinstance(self.task, Instruction)
        device = next(self.model.parameters()).device
        with autocast(device, autocast_dtype(self.record.precision)):
            texts = generate(
                self.model,
                self.tokenizer,
                prompts,
                self.task.chat.stop_tokens,
                max_new_tokens=max_new_tokens,
                batch_size=len(prompts),
            )
        return [Prediction(text=text) for (text,) in texts]


def load(path: str | Path, device: str | None = None) -> Model:
    """The trained model in a folder.

    Args:
        path: ``weights/`` of a trial, or the trial's folder.
        device: Device in torch's spelling; by default a GPU if there is one.

    Raises:
        UsageError: The folder is damaged.
        ModelError: Its base model is missing or has changed.
    """
    folder = Path(path).expanduser()
    if any((parent / "plan.json").is_file() for parent in (folder, Path("runs", path))):
        fix = f"Load its recommended trial: sweeper.load_run({str(path)!r}).winner()"
        raise UsageError(f"{path} is a run, which has several models", fix=fix)
    if not (folder / "sweeper.json").is_file() and (folder / "weights").is_dir():
        folder = folder / "weights"
    if not (folder / "sweeper.json").is_file():
        fix = "Give runs/NAME/trials/N/weights, or a copy of it."
        raise UsageError("there is no trained model in this folder", fix=fix, where=str(path))
    return Model(reload(folder, torch.device(device) if device else None))
