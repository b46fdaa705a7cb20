"""Scores a model on the items of a split, the same way in every trial and for every baseline.

Items are tokenised once for every trial, in padded batches of like lengths; those of a large split
lie in files.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sweeper.backend import Steps, nothing
from sweeper.cache import home, made_while_used
from sweeper.data.examples import Example
from sweeper.data.item_files import stored_items, writing
from sweeper.data.table import Stored
from sweeper.errors import DataError, Problem
from sweeper.jsontext import value_of
from sweeper.plans import Half
from sweeper.tasks.task import (
    ENCODING_KINDS,
    Batch,
    Evaluation,
    Feature,
    ItemScores,
    Task,
    in_item_order,
)

_KINDS = "encoding_kinds"
_ITEMS, _ABOUT = "items", "about"
_TOKENISED_TOGETHER = 512
_ROW = "row"
MAPPED_FROM = 10_000
"""Items from which on features are kept in a file: fewer are tokenised in seconds."""


def fingerprint(task: Task, examples: Iterable[Example]) -> str | None:
    """A name for what a task makes of these examples; None if its tokenizer cannot be named.

    It covers the examples, the tokenizer with its chat template, the cap, and what the task may
    look at besides.
    """
    backend = getattr(task.tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    tokenizer = value_of(backend.to_str())
    # Set anew by every call, to what the call asks for.
    tokenizer |= {"truncation": None, "padding": None}
    about = (
        *(version("finetune-sweeper"), version("transformers"), version("tokenizers")),
        *(type(task).__module__, type(task).__qualname__, task.sequence_length),
        *(tokenizer, task.tokenizer.chat_template, task.tokenizer.special_tokens_map),
        *(task.facts.model_dump_json(), task.spec.training.model_dump_json()),
        *(len(task.spec.models), task.dataset.labels, task.dataset.path),
    )
    digest = hashlib.blake2b(repr(about).encode(), digest_size=16)
    for example in examples:
        digest.update(repr(example).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _write(folder: Path, blocks: Iterable[Sequence[Feature]]) -> None:
    """Write features, and beside them what is asked of all of them."""
    about = array("q")
    with writing(folder / _ITEMS) as write:
        for feature in chain.from_iterable(blocks):
            tokens = {name: values for name, values in feature.items() if name != _KINDS}
            write(json.dumps(tokens, separators=(",", ":")).encode())
            about.extend(_about(feature))
    (folder / _ABOUT).write_bytes(about)


def _about(feature: Feature) -> tuple[int, int, int]:
    """Tokens of an item, the place of its example, and its encoding_kinds as bits."""
    marks = sum(1 << ENCODING_KINDS.index(kind) for kind in feature.get(_KINDS, ()))
    return len(feature["input_ids"]), feature.get(_ROW, 0), marks


def _read(item: memoryview) -> Feature:
    feature: Feature = value_of(bytes(item))
    return feature


Positioned = tuple[list[int], Batch]
"""Items padded together, and where they stand in the split."""


class TokenizedSplit:
    """One split for one task.

    Args:
        divided: A long example becomes several items instead of one that is cut.
    """

    def __init__(
        self,
        task: Task,
        examples: Sequence[Example],
        underway: Steps = nothing,
        *,
        divided: bool = False,
    ) -> None:
        self._task = task
        self._underway = underway
        self._examples = examples
        self._divided = divided
        self._kept: dict[tuple[int, int], list[Positioned]] = {}

    def __len__(self) -> int:
        return len(self.features) if self._divided else len(self._examples)

    @cached_property
    def examples(self) -> Sequence[Example]:
        if not self._divided:
            return self._examples
        rows = self._about[:, 1]
        return Stored(len(rows), lambda item: self._examples[int(rows[item])])

    @cached_property
    def _folder(self) -> Path | None:
        """The folder with the features, which is made once; None where they are few."""
        large = len(self._examples) >= MAPPED_FROM
        name = fingerprint(self._task, self._told()) if large else None
        if name is None:
            return None
        return made_while_used(
            home() / "items" / f"{name}{'-divided' if self._divided else ''}",
            lambda folder: _write(folder, self._blocks()),
            while_waiting=lambda: self._underway(0, len(self._examples)),
        )

    @cached_property
    def features(self) -> Sequence[Feature]:
        """Each item tokenised; of many items, read from a file when asked for.

        Raises:
            DataError: Some cannot be; all of them are named.
        """
        if self._folder:
            return stored_items(self._folder / _ITEMS, _read)
        return [feature for block in self._blocks() for feature in block]

    @cached_property
    def _about(self) -> NDArray[np.int64]:
        """``(items, 3)``, see ``_about``."""
        if self._folder:
            return np.fromfile(self._folder / _ABOUT, dtype=np.int64).reshape(-1, 3)
        return np.array([_about(feature) for feature in self.features], np.int64).reshape(-1, 3)

    def _told(self) -> Iterator[Example]:
        for number, example in enumerate(self._examples):
            if not number % _TOKENISED_TOGETHER:
                self._underway(0, len(self._examples))
            yield example

    def _blocks(self) -> Iterator[list[Feature]]:
        problems: list[Problem] = []
        for start in range(0, len(self._examples), _TOKENISED_TOGETHER):
            self._underway(start, len(self._examples))
            block = self._examples[start : start + _TOKENISED_TOGETHER]
            try:
                if not self._divided:
                    yield self._task.encode(block)
                    continue
                each = enumerate(self._task.divided(block), start)
                yield [{**item, _ROW: row} for row, items in each for item in items]
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)

    @cached_property
    def encoding_kinds(self) -> Sequence[Feature]:
        """Features of which only the encoding_kinds are looked at."""
        marks = self._about[:, 2]
        return Stored(
            len(marks),
            lambda item: {
                _KINDS: [f for bit, f in enumerate(ENCODING_KINDS) if marks[item] >> bit & 1]
            },
        )

    @cached_property
    def lengths(self) -> Sequence[int]:
        return array("q", self._about[:, 0].tobytes())

    def batches(self, count: int, size: int) -> Iterator[Positioned]:
        """The first ``count`` items, longest first, as (positions, padded batch) on the CPU."""
        order = sorted(range(count), key=lambda i: (-self.lengths[i], i))
        for start in range(0, count, size):
            part = order[start : start + size]
            yield part, self._task.collate([self.features[i] for i in part])

    def kept_batches(self, count: int, size: int) -> list[Positioned]:
        """The same, padded once and kept: for what every trial is scored on."""
        key = (count, size)
        if key not in self._kept:
            self._kept[key] = list(self.batches(count, size))
        return self._kept[key]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch where the model is."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def autocast(device: torch.device, mixed: Half | None) -> AbstractContextManager[None]:
    """Matrix products in 16 bits where the trial's precision is a mixed one, else as they are."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=getattr(torch, mixed or "bfloat16"), enabled=bool(mixed)
    )
    return context


@dataclass(frozen=True)
class Evaluator:
    """How models are scored on one split.

    Args:
        batch_size: Items at a time; longest first, so that too little memory shows at once.
        underway: Called before each batch with the number of scored items.
    """

    task: Task
    items: TokenizedSplit
    batch_size: int
    mixed: Half | None = None
    underway: Steps = nothing

    def evaluate(self, model: nn.Module, count: int | None = None) -> Evaluation:
        """Score the first ``count`` items (all if None), in item order.

        Args:
            model: The model that the task assembled. Left in evaluation mode.

        Raises:
            Interrupted: ``underway`` raised it.
        """
        count = len(self.items) if count is None else min(count, len(self.items))
        device = next(model.parameters()).device
        model.eval()
        parts: list[ItemScores] = []
        positions: list[int] = []
        with torch.no_grad(), autocast(device, self.mixed):
            for part, batch in self.items.kept_batches(count, self.batch_size):
                self.underway(len(positions), count)
                parts.append(self.task.score(model, to_device(batch, device)))
                positions += part
        joined = in_item_order(parts, positions)
        return self.task.evaluation(joined, self.items.examples[:count])
