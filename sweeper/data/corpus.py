"""Keeps the text of validation and test out of documents and rows to train on."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from sweeper.data.examples import Dataset, Example, normalised

# If two texts share a run of this many words, one quotes the other: the window of GPT-3's
# study of contamination (Brown et al. 2020, arXiv:2005.14165, appendix C).
WINDOW_WORDS = 13
# A window in more documents is a common phrase, a notice or a form, no quote (same source).
_MAX_DOCUMENTS_PER_WINDOW = 10
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
        and normalised(document.text) not in held_out_texts
        and all(documents_per_window[window] > _MAX_DOCUMENTS_PER_WINDOW for window in quotes)
    )


def _texts(example: Example) -> Iterator[str]:
    """The whole text, then each message's."""
    yield example.text or "\n".join(message.content for message in example.messages)
    yield from (message.content for message in example.messages)


def windows(text: str) -> Iterator[int]:
    """The hash of each run of ``WINDOW_WORDS`` words."""
    words = _WORD.findall(normalised(text))
    return (hash(tuple(words[i : i + WINDOW_WORDS])) for i in range(len(words) - WINDOW_WORDS + 1))
