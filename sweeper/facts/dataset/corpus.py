"""Facts about the corpus that a first stage reads: how much there is, and what was left out."""

from __future__ import annotations

from itertools import islice

from sweeper.data.corpus import corpus_text
from sweeper.data.examples import Dataset
from sweeper.facts.dataset.lengths import SAMPLE_ROWS, ruler
from sweeper.facts.record import CorpusFacts, ModelFacts
from sweeper.spec import Spec


def corpus_facts(dataset: Dataset, spec: Spec, model: ModelFacts) -> CorpusFacts | None:
    """The facts about the corpus; None where there is none beside the task's own data.

    Raises:
        DataError: It cannot be read or recognised.
    """
    if spec.data.corpus is None or spec.data.named is None or spec.task != "domain":
        return None
    text = corpus_text(spec.data, dataset)
    measure = ruler(model, code=False, conversations=False)
    sample = [document.text for document in islice(text.documents, SAMPLE_ROWS)]
    counted = sum(measure.count(sample)) + measure.special * len(sample)
    return CorpusFacts(
        path=spec.data.corpus,
        documents=len(text.documents),
        words=text.words,
        tokens=round(counted * len(text.documents) / max(len(sample), 1)),
        leaked=text.leaked,
        repeated=text.repeated,
        sha256=text.fingerprint,
    )


def corpus_warnings(corpus: CorpusFacts) -> tuple[str, ...]:
    """Warnings about the corpus."""
    said = []
    if corpus.leaked:
        said.append(
            f"{corpus.leaked:,} of {corpus.documents + corpus.leaked:,} documents of the corpus "
            "share text with validation or test rows and are not read"
        )
    if corpus.repeated:
        said.append(f"{corpus.repeated:,} documents of the corpus repeat another one")
    return tuple(said)
