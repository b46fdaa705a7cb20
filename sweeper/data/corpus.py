"""Documents and rows that nothing may be trained on, since validation or test hold their text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from sweeper.data.examples import Dataset, Example, normalised

# A run of as many words in common means that one text quotes the other: the window of GPT-3's
# study of contamination (Brown et al. 2020, arXiv:2005.14165, appendix C).
WINDOW = 13
# A window that more documents share is a phrase of the domain, a notice or a form (same place).
_PHRASE = 10
_WORD = re.compile(r"\w+")


def without_repetitions(read: tuple[Example, ...]) -> tuple[Example, ...]:
    """The rows without those whose content is that of another one."""
    return tuple({example.content_hash(): example for example in read}.values())


def held_out(dataset: Dataset) -> tuple[Example, ...]:
    """The rows of a data set that nothing may be trained on."""
    return (*dataset.splits["validation"], *dataset.splits["test"])


def unquoted(documents: tuple[Example, ...], held: tuple[Example, ...]) -> tuple[Example, ...]:
    """The documents, texts or rows, that neither are nor quote any of the held-out rows."""
    hashes = {example.content_hash() for example in held}
    whole = {normalised(text) for example in held for text in _texts(example)}
    secret = {window for example in held for window in windows(next(_texts(example)))}
    shared = [secret & set(windows(next(_texts(document)))) for document in documents]
    common = Counter(window for matched in shared for window in matched)
    return tuple(
        document
        for document, matched in zip(documents, shared, strict=True)
        if document.content_hash() not in hashes
        and normalised(document.text) not in whole
        and all(common[window] > _PHRASE for window in matched)
    )


def _texts(example: Example) -> Iterator[str]:
    yield example.text or "\n".join(message.content for message in example.messages)
    yield from (message.content for message in example.messages)


def windows(text: str) -> Iterator[int]:
    """A number for each run of words; equal runs have equal numbers."""
    words = _WORD.findall(normalised(text))
    return (hash(tuple(words[i : i + WINDOW])) for i in range(len(words) - WINDOW + 1))
