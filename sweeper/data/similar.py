"""Finds rows with nearly the same text, and text that quotes a held-out row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial

from sweeper.data.examples import SPLITS, Dataset, Example, normalised
from sweeper.data.near import NearTexts, SketchedText
from sweeper.data.progress_lines import with_progress
from sweeper.data.rows import DataRows, FileRow
from sweeper.packages import install_command, is_installed

MAX_ROWS = 200_000
"""Only this many rows, the first ones, are compared."""

_Row = tuple[int, FileRow, Example]
"""An entry of ``DataRows.usable``: index, row and example."""


def reason_not_available() -> str:
    """Why similar rows cannot be checked; empty if they can."""
    return "" if is_installed("rensa") else f"it needs rensa: {install_command('data')}"


def duplicates_in_split(data: DataRows) -> Iterator[tuple[int, int]]:
    """Pairs of indices: a row, and an earlier row of its split and label that is nearly the same.

    Rows with exactly the same input are not reported.
    """
    seen_texts = NearTexts[_Row]()
    rows = data.usable[:MAX_ROWS]
    for entry in with_progress(rows, "looking for near duplicates", len(rows)):
        index, row, example = entry
        if (text := SketchedText.of(f"{row.input} {row.written}")) is None:
            continue
        match = next(seen_texts.similar_to(text, partial(_same_split_and_label, entry)), None)
        # A row that has a match is not added: in a chain A, B, C of small changes, C is compared
        # with A alone, and may be reported as no duplicate.
        if match is None:
            seen_texts.add(entry, text)
        elif match[2].key != example.key:
            yield index, match[0]


def duplicates_across_splits(data: DataRows) -> Iterator[tuple[int, int]]:
    """Pairs of indices: a row, and a row of a later split with nearly the same input."""
    seen_texts = NearTexts[_Row]()
    rows_by_split = sorted(data.usable[:MAX_ROWS], key=lambda entry: -SPLITS.index(entry[1].split))
    for entry in with_progress(rows_by_split, "comparing splits", len(rows_by_split)):
        index, row, _ = entry
        if (text := SketchedText.of(row.input)) is None:
            continue
        wanted = partial(_other_split_and_input, entry)
        if match := next(seen_texts.similar_to(text, wanted), None):
            yield index, match[0]
        if row.split != SPLITS[0]:
            seen_texts.add(entry, text)


def _same_split_and_label(first: _Row, second: _Row) -> bool:
    return first[1].split == second[1].split and first[1].label == second[1].label


def _other_split_and_input(first: _Row, second: _Row) -> bool:
    return first[1].split != second[1].split and first[2].key != second[2].key


WINDOW_WORDS = 13
"""If two texts share a run of this many words, one quotes the other: the window of GPT-3's study of
contamination (Brown et al. 2020, arXiv:2005.14165, appendix C)."""

_MAX_DOCUMENTS_PER_WINDOW = 10
"""A window in more documents is a common phrase, a notice or a form, not a quote (same source)."""

_WORD = re.compile(r"\w+")


def without_duplicates(rows: tuple[Example, ...]) -> tuple[Example, ...]:
    """The rows without exact duplicates."""
    return tuple({example.content_hash(): example for example in rows}.values())


def held_out(dataset: Dataset) -> tuple[Example, ...]:
    """The rows of validation and test, which are never trained on."""
    return (*dataset.splits["validation"], *dataset.splits["test"])


def without_held_out_text(
    documents: tuple[Example, ...], held_out_rows: tuple[Example, ...]
) -> tuple[Example, ...]:
    """The documents (texts or rows) that neither equal nor quote a held-out row."""
    hashes = {example.content_hash() for example in held_out_rows}
    held_out_texts = {normalised(text) for example in held_out_rows for text in _texts(example)}
    held_out_windows = {
        window for example in held_out_rows for window in windows(next(_texts(example)))
    }
    all_quotes = [held_out_windows & set(windows(next(_texts(document)))) for document in documents]
    documents_per_window = Counter(window for quotes in all_quotes for window in quotes)
    return tuple(
        document
        for document, quotes in zip(documents, all_quotes, strict=True)
        if document.content_hash() not in hashes
        and not (document.text and normalised(document.text) in held_out_texts)
        and all(documents_per_window[window] > _MAX_DOCUMENTS_PER_WINDOW for window in quotes)
    )


def _texts(example: Example) -> Iterator[str]:
    """The whole text of an example, then the text of each message."""
    yield example.text or "\n".join(message.content for message in example.messages)
    yield from (message.content for message in example.messages)


def windows(text: str) -> Iterator[int]:
    """The hash of each run of ``WINDOW_WORDS`` words."""
    words = _WORD.findall(normalised(text))
    return (hash(tuple(words[i : i + WINDOW_WORDS])) for i in range(len(words) - WINDOW_WORDS + 1))
