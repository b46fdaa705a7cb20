"""The items of one split, tokenised once for every trial, in padded batches of like lengths.

Those of a large split lie in files that processes map.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch

from sweeper.cache import home, made_while_used
from sweeper.data.examples import Example
from sweeper.data.table import Stored
from sweeper.errors import DataError, Problem
from sweeper.jsontext import value_of
from sweeper.tasks.base import FATES, Batch, Feature, Task
from sweeper.underway import Steps, nothing

_FATES = "fates"
_LISTS, _NUMBERS = "lists", "numbers"
_SUMMARY = "features.json"
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
    found = hashlib.blake2b(repr(about).encode(), digest_size=16)
    for example in examples:
        found.update(repr(example).encode("utf-8", "surrogatepass"))
    return found.hexdigest()


def write_features(folder: Path, blocks: Iterable[Sequence[Feature]]) -> None:
    """Write features block by block: the values of a list one after the other, with their ends."""
    kinds: dict[str, str] = {}
    ends: dict[str, int] = {}
    with ExitStack() as opened:

        def append(name: str, values: Any) -> None:
            if name not in files:
                files[name] = opened.enter_context((folder / name).open("wb"))
            values.tofile(files[name])

        files: dict[str, Any] = {}
        for block in blocks:
            for name in block[0].keys() - {_FATES}:
                column = [feature[name] for feature in block]
                if isinstance(column[0], int):
                    kinds[name] = _NUMBERS
                    append(name, np.array(column, dtype=np.int64))
                    continue
                kinds[name] = _LISTS
                append(name, np.array([one for row in column for one in row], dtype=np.int32))
                sizes = np.array([ends.get(name, 0), *map(len, column)], dtype=np.int64)
                until = np.cumsum(sizes)
                append(f"{name}.ends", until if name not in ends else until[1:])
                ends[name] = int(until[-1])
            marks = [
                sum(1 << FATES.index(fate) for fate in feature.get(_FATES, ())) for feature in block
            ]
            append(_FATES, np.array(marks, dtype=np.uint8))
    (folder / _SUMMARY).write_text(json.dumps(kinds), encoding="utf-8")


class StoredFeatures(Sequence[Feature]):
    """Features that ``write_features`` wrote, mapped into memory and read when asked for."""

    def __init__(self, folder: Path) -> None:
        kinds = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
        self._numbers = {
            n: _mapped(folder / n, np.int64) for n, k in kinds.items() if k == _NUMBERS
        }
        self._lists = {
            name: (_mapped(folder / name, np.int32), _mapped(folder / f"{name}.ends", np.int64))
            for name, kind in kinds.items()
            if kind == _LISTS
        }
        self._fates = _mapped(folder / _FATES, np.uint8)

    def __len__(self) -> int:
        return len(self._fates)

    @overload
    def __getitem__(self, place: int) -> Feature: ...
    @overload
    def __getitem__(self, place: slice) -> list[Feature]: ...
    def __getitem__(self, place: int | slice) -> Feature | list[Feature]:
        places = range(len(self))[place]
        if not isinstance(places, int):
            return [self[one] for one in places]
        feature: Feature = {
            name: values[ends[places] : ends[places + 1]].tolist()
            for name, (values, ends) in self._lists.items()
        }
        feature |= {name: int(values[places]) for name, values in self._numbers.items()}
        fates = self._told(int(self._fates[places]))
        return feature | {_FATES: fates} if fates else feature

    def fates(self) -> Stored[Feature]:
        """Of every item, what became of it; no tokens are read."""
        return Stored(len(self), lambda place: {_FATES: self._told(int(self._fates[place]))})

    def lengths(self) -> array[int]:
        return array("q", np.diff(self._lists["input_ids"][1]).tobytes())

    def numbers(self, name: str) -> list[int]:
        return list(map(int, self._numbers[name]))

    @staticmethod
    def _told(marks: int) -> tuple[str, ...]:
        return tuple(fate for bit, fate in enumerate(FATES) if marks >> bit & 1)


def _mapped(path: Path, kind: Any) -> Any:
    return np.memmap(path, dtype=kind, mode="r") if path.stat().st_size else np.zeros(0, kind)


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
        found = self.features
        if isinstance(found, StoredFeatures):
            rows = found.numbers(_ROW)
        else:
            rows = [feature[_ROW] for feature in found]
        return Stored(len(rows), lambda place: self._examples[rows[place]])

    @cached_property
    def features(self) -> Sequence[Feature]:
        """Each item tokenised; of many items, mapped from a file that is made once.

        Raises:
            DataError: Some cannot be; all of them are named.
        """
        large = len(self._examples) >= MAPPED_FROM
        name = fingerprint(self._task, self._told()) if large else None
        if name is None:
            return [feature for block in self._blocks() for feature in block]
        folder = made_while_used(
            home() / "tokens" / f"{name}{'-divided' if self._divided else ''}",
            lambda folder: write_features(folder, self._blocks()),
            while_waiting=lambda: self._underway(0, len(self._examples)),
        )
        return StoredFeatures(folder)

    def _told(self) -> Iterator[Example]:
        for place, example in enumerate(self._examples):
            if not place % _TOKENISED_TOGETHER:
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
    def fates(self) -> Sequence[Feature]:
        """Features of which only the fates are looked at."""
        found = self.features
        return found.fates() if isinstance(found, StoredFeatures) else found

    @cached_property
    def lengths(self) -> Sequence[int]:
        if isinstance(self.features, StoredFeatures):
            return self.features.lengths()
        return [len(feature["input_ids"]) for feature in self.features]

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
