"""Scores a model on the items of a split, the same way in every trial and for every baseline.

Items are tokenised once for all trials and batched by length. Items of a large split are stored in
files.
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

from sweeper.backend import Steps, no_progress
from sweeper.cache import home, made_and_touched
from sweeper.data.examples import Example
from sweeper.data.table import LazySequence, item_writer, stored_items
from sweeper.errors import DataError, Problem
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
from sweeper.textfiles import json_value

# Keys of a feature: the ways in which tokenising changed the example, and the example's index.
_KINDS, _ROW = "encoding_kinds", "row"
# Files in the folder of a split: the features, and the table with a row for each.
_ITEMS, _ITEM_TABLE = "items", "about"
# Number of examples that are tokenised at a time.
_BLOCK_EXAMPLES = 512
MIN_ITEMS_IN_FILE = 10_000
"""Features of at least this many examples are stored in a file; fewer are tokenised in seconds."""


def fingerprint(task: Task, examples: Iterable[Example]) -> str | None:
    """A digest of everything that a task's features depend on; None for a slow tokenizer.

    It covers the examples, the tokenizer with its chat template, the length limit, and whatever
    else a task may read.
    """
    backend = getattr(task.tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    tokenizer = json_value(backend.to_str())
    # Every call of the tokenizer sets these.
    tokenizer |= {"truncation": None, "padding": None}
    inputs = (
        *(version("finetune-sweeper"), version("transformers"), version("tokenizers")),
        *(type(task).__module__, type(task).__qualname__, task.sequence_length),
        *(tokenizer, task.tokenizer.chat_template, task.tokenizer.special_tokens_map),
        *(task.facts.model_dump_json(), task.spec.training.model_dump_json()),
        *(len(task.spec.models), task.dataset.labels, task.dataset.path),
    )
    digest = hashlib.blake2b(repr(inputs).encode(), digest_size=16)
    for example in examples:
        digest.update(repr(example).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _write_features(folder: Path, blocks: Iterable[Sequence[Feature]]) -> None:
    """Write the features, and a table with three numbers for each (see ``_table_row``)."""
    table = array("q")
    with item_writer(folder / _ITEMS) as write:
        for feature in chain.from_iterable(blocks):
            tokens = {name: values for name, values in feature.items() if name != _KINDS}
            write(json.dumps(tokens, separators=(",", ":")).encode())
            table.extend(_table_row(feature))
    (folder / _ITEM_TABLE).write_bytes(table)


def _table_row(feature: Feature) -> tuple[int, int, int]:
    """An item's number of tokens, the index of its example, and its ``encoding_kinds`` as bits."""
    bits = sum(1 << ENCODING_KINDS.index(kind) for kind in feature.get(_KINDS, ()))
    return len(feature["input_ids"]), feature.get(_ROW, 0), bits


def _read_feature(item: memoryview) -> Feature:
    feature: Feature = json_value(bytes(item))
    return feature


Positioned = tuple[list[int], Batch]
"""The indices in the split of a batch's items, and the padded batch."""


class TokenizedSplit:
    """The tokenised items of one split for one task.

    Args:
        in_pieces: Whether a long example becomes several items; otherwise it is cut.
    """

    def __init__(
        self,
        task: Task,
        examples: Sequence[Example],
        on_progress: Steps = no_progress,
        *,
        in_pieces: bool = False,
    ) -> None:
        self._task = task
        self._on_progress = on_progress
        self._examples = examples
        self._in_pieces = in_pieces
        self._padded_batches: dict[tuple[int, int], list[Positioned]] = {}

    def __len__(self) -> int:
        return len(self.features) if self._in_pieces else len(self._examples)

    @cached_property
    def examples(self) -> Sequence[Example]:
        if not self._in_pieces:
            return self._examples
        rows = self._table[:, 1]
        return LazySequence(len(rows), lambda item: self._examples[int(rows[item])])

    @cached_property
    def _folder(self) -> Path | None:
        """The folder with the features, written once; None for few examples."""
        is_large = len(self._examples) >= MIN_ITEMS_IN_FILE
        name = fingerprint(self._task, self._with_progress()) if is_large else None
        if name is None:
            return None
        return made_and_touched(
            home() / "items" / f"{name}{'-divided' if self._in_pieces else ''}",
            lambda folder: _write_features(folder, self._blocks()),
            while_waiting=lambda: self._on_progress(0, len(self._examples)),
        )

    @cached_property
    def features(self) -> Sequence[Feature]:
        """The tokenised items; those of a large split are read from a file one by one.

        Raises:
            DataError: Some examples cannot be tokenised; names all of them.
        """
        if self._folder:
            return stored_items(self._folder / _ITEMS, _read_feature)
        return [feature for block in self._blocks() for feature in block]

    @cached_property
    def _table(self) -> NDArray[np.int64]:
        """``(items, 3)``: a ``_table_row`` for each item."""
        if self._folder:
            return np.fromfile(self._folder / _ITEM_TABLE, dtype=np.int64).reshape(-1, 3)
        return np.array([_table_row(feature) for feature in self.features], np.int64).reshape(-1, 3)

    def _with_progress(self) -> Iterator[Example]:
        """The examples; reports that none is tokenised yet, at intervals."""
        for number, example in enumerate(self._examples):
            if not number % _BLOCK_EXAMPLES:
                self._on_progress(0, len(self._examples))
            yield example

    def _blocks(self) -> Iterator[list[Feature]]:
        """The tokenised items, a block of examples at a time.

        Raises:
            DataError: Some examples cannot be tokenised; names all of them.
        """
        problems: list[Problem] = []
        for start in range(0, len(self._examples), _BLOCK_EXAMPLES):
            self._on_progress(start, len(self._examples))
            block = self._examples[start : start + _BLOCK_EXAMPLES]
            try:
                if not self._in_pieces:
                    yield self._task.encode(block)
                    continue
                items_by_row = enumerate(self._task.encode_in_pieces(block), start)
                yield [{**item, _ROW: row} for row, items in items_by_row for item in items]
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)

    @cached_property
    def encoding_kinds(self) -> Sequence[Feature]:
        """For each item, a feature that holds only its ``encoding_kinds``.

        These are the ways in which tokenising changed the example, such as ``cut``: see
        ``EncodingNote``.
        """
        bits = self._table[:, 2]
        return LazySequence(
            len(bits),
            lambda item: {
                _KINDS: [kind for bit, kind in enumerate(ENCODING_KINDS) if bits[item] >> bit & 1]
            },
        )

    @cached_property
    def lengths(self) -> Sequence[int]:
        return array("q", self._table[:, 0].tobytes())

    def batches(self, count: int, size: int) -> Iterator[Positioned]:
        """The first ``count`` items in batches, longest first."""
        order = sorted(range(count), key=lambda i: (-self.lengths[i], i))
        for start in range(0, count, size):
            indices = order[start : start + size]
            yield indices, self._task.collate([self.features[i] for i in indices])

    def stored_batches(self, count: int, size: int) -> list[Positioned]:
        """``batches`` as a list that is kept in memory, since every trial is scored on it."""
        key = (count, size)
        if key not in self._padded_batches:
            self._padded_batches[key] = list(self.batches(count, size))
        return self._padded_batches[key]


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}


def autocast(device: torch.device, mixed_dtype: Half | None) -> AbstractContextManager[None]:
    """A context of mixed precision in the dtype ``mixed_dtype``; of full precision if None."""
    context: AbstractContextManager[None] = torch.autocast(
        device.type, dtype=getattr(torch, mixed_dtype or "bfloat16"), enabled=bool(mixed_dtype)
    )
    return context


@dataclass(frozen=True)
class Evaluator:
    """Scores models on one split.

    Args:
        batch_size: Items in a batch. The longest items come first, to detect a lack of memory
            early.
        on_progress: Callback before each batch, with the numbers of scored and of all items.
    """

    task: Task
    items: TokenizedSplit
    batch_size: int
    mixed_dtype: Half | None = None
    on_progress: Steps = no_progress

    def evaluate(self, model: nn.Module, count: int | None = None) -> Evaluation:
        """Score the first ``count`` items (all if None), in item order.

        Args:
            model: The model that the task assembled. Left in evaluation mode.

        Raises:
            Interrupted: Raised by ``on_progress``.
        """
        count = len(self.items) if count is None else min(count, len(self.items))
        device = next(model.parameters()).device
        model.eval()
        batch_scores: list[ItemScores] = []
        positions: list[int] = []
        with torch.no_grad(), autocast(device, self.mixed_dtype):
            for batch_positions, batch in self.items.stored_batches(count, self.batch_size):
                self.on_progress(len(positions), count)
                batch_scores.append(self.task.score(model, to_device(batch, device)))
                positions += batch_positions
        scores = in_item_order(batch_scores, positions)
        return self.task.evaluation(scores, self.items.examples[:count])
