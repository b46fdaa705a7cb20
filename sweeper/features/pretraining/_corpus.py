"""The text of a corpus, without the rows of validation and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sweeper.data.examples import Dataset, Example
from sweeper.data.load import load_corpus
from sweeper.data.similar import held_out, without_duplicates, without_held_out_text
from sweeper.features.pretraining.options import Options
from sweeper.spec import DataSpec


@dataclass(frozen=True)
class CorpusText:
    """The documents that trials may train on.

    Args:
        documents: Documents, sorted by key: a hash of the text, so in random order.
        leaked: Number of documents left out because they share text with validation or test.
        repeated: Number of documents left out because an earlier one is the same.
        fingerprint: SHA-256 over ``documents``.
    """

    documents: tuple[Example, ...]
    leaked: int
    repeated: int
    fingerprint: str


def corpus_text(options: Options, spec: DataSpec, dataset: Dataset) -> CorpusText:
    """The corpus without repetitions and without text of the data set's held-out rows.

    A document is left out if it equals a validation or test row, or if it shares 13
    consecutive words with one, unless more than ten documents have these words.

    Raises:
        DataError: The corpus cannot be read or recognised.
    """
    assert options.corpus is not None
    documents = load_corpus(options.corpus, spec, revision=options.corpus_revision)
    unique = without_duplicates(documents)
    clean = without_held_out_text(unique, held_out(dataset))
    kept = clean[: options.corpus_rows] if options.corpus_rows else clean
    content = "".join(document.content_hash() for document in kept)
    return CorpusText(
        documents=kept,
        leaked=len(unique) - len(clean),
        repeated=len(documents) - len(unique),
        fingerprint=hashlib.sha256(content.encode()).hexdigest(),
    )
