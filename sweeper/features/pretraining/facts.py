"""Checks whether a request can use a corpus, and measures the corpus."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from sweeper.data.examples import Dataset
from sweeper.errors import Problem
from sweeper.facts.record import Facts
from sweeper.features.parts import record_of
from sweeper.features.pretraining._facts import NAME, CorpusFacts
from sweeper.features.pretraining.options import Options
from sweeper.planning.rulebook.fact import FactInput, Value, flag
from sweeper.spec import Spec


@flag(set_by_user=True)
def domain_corpus(inputs: FactInput) -> Value:
    """Whether --corpus is given."""
    return inputs.spec.features.of(Options).corpus is not None


FACTS = (domain_corpus,)


def check(spec: Spec, for_run: bool) -> Iterator[Problem]:
    """The problem of a corpus in a task other than ``domain``, or of a corpus without task data.

    The same whether the command will train or not (``for_run``).
    """
    corpus, key_path = spec.features.of(Options).corpus, ("features", NAME, "corpus")
    if corpus is None:
        return
    if spec.task != "domain":
        yield Problem(
            f"corpus = {corpus!r} in task {spec.task}",
            "Only the domain task continues pretraining on a corpus.",
            "Leave it out, or choose --task domain.",
            spec.places.where(key_path),
        )
    elif spec.data.named is None:
        yield Problem(
            "a corpus without data of the task",
            "The model is pretrained further on the corpus, then trained on the task's own data.",
            f"To train on the corpus alone, give it as the data: --data {corpus}.",
            spec.places.where(key_path),
        )


def gather(spec: Spec, facts: Facts, dataset: Dataset | None, for_run: bool) -> CorpusFacts | None:
    """The size of the corpus, without validation and test rows; None without corpus or data.

    The same whether the command will train or not (``for_run``).

    Raises:
        DataError: The corpus cannot be read or recognised.
    """
    options = spec.features.of(Options)
    if options.corpus is None or dataset is None:
        return None
    from sweeper.facts.dataset.lengths import SAMPLE_ROWS, token_counter
    from sweeper.features.pretraining._corpus import corpus_text

    text = corpus_text(options, spec.data, dataset)
    counter = token_counter(facts.models[0], code=False, conversations=False)
    sample = [document.text for document in islice(text.documents, SAMPLE_ROWS)]
    sample_tokens = sum(counter.count(sample)) + counter.special * len(sample)
    return CorpusFacts(
        path=options.corpus,
        documents=len(text.documents),
        tokens=round(sample_tokens * len(text.documents) / max(len(sample), 1)),
        leaked=text.leaked,
        repeated=text.repeated,
        sha256=text.fingerprint,
    )


def identity(spec: Spec, facts: Facts) -> object:
    """The digest of the corpus, independent of its path; None without a corpus."""
    corpus = record_of(facts.features, NAME, CorpusFacts)
    return corpus and corpus.sha256


def warnings(spec: Spec, facts: Facts) -> Iterator[str]:
    """Warnings about documents that are left out."""
    corpus = record_of(facts.features, NAME, CorpusFacts)
    if corpus is None:
        return
    if corpus.leaked:
        yield (
            f"{corpus.leaked:,} of {corpus.documents + corpus.leaked:,} documents of the corpus "
            "share text with validation or test rows and are not read"
        )
    if corpus.repeated:
        yield f"repeated documents of the corpus, which are not read: {corpus.repeated:,}"
