"""The distance of a data set's language from general English, by the model's tokenizer.

A tokenizer encodes frequent words as one token and splits rare words. Text with more tokens per
word than general text therefore has words, a language or a notation that are rare in the model's
training data. The measure ignores style and subjects in common words: legal questions count as
near.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.data.examples import Example
from sweeper.facts.dataset.lengths import TokenCounter
from sweeper.facts.record import DomainFacts
from sweeper.resources import search_spaces
from sweeper.spec import AimSpec

MIN_FAR_TOKENS_RATIO = 1.2
"""A data set is far if its tokens per word are at least this multiple of general text's.

Measured with the tokenizers of MiniLM and SmolLM2 against ``general_text.txt``: news, bank and
music requests, web questions, seed instructions and restaurant reviews 0.9 to 1.18; biomedical
abstracts 1.24 and 1.33; documentation of Python 1.36 and 1.49; German news 2.1; Python code 2.2
and 2.3.
"""

MIN_FAR_BITS_RATIO = 1.3
"""A data set is far if its bits per byte are at least this multiple of general text's.

Measured with SmolLM2-135M-Instruct, 16 pieces of up to 300 bytes each (``benchmarks/findings.md``):
descriptions with their Python code 0.79, school maths 0.98, documentation of Python 1.03, seed
instructions 1.06, biomedical abstracts 1.07, English news 1.13; German news 2.10. If the two
measures disagree, as on abstracts and code, this one is better: a model can predict rare words
although they are split.
"""

SAMPLE_ROWS = 500


def domain_facts(sample: Sequence[Example], counter: TokenCounter, aim: AimSpec) -> DomainFacts:
    """Tokens per word and distance of a sample; a stated distance takes precedence."""
    of_data = tokens_per_word([language(example) for example in sample[:SAMPLE_ROWS]], counter)
    general = tokens_per_word([general_text()], counter) if counter.measured else None
    facts = DomainFacts(
        tokens_per_word=of_data if counter.measured else None, general_tokens_per_word=general
    )
    return with_distance(facts, aim)


def with_distance(facts: DomainFacts, aim: AimSpec) -> DomainFacts:
    """Domain facts with the distance: as stated, else by bits per byte, else by tokens per word."""
    if aim.domain_distance is not None:
        return facts.model_copy(update={"distance": aim.domain_distance, "decided_by": "user"})
    if facts.bits_per_byte is not None and facts.general_bits_per_byte is not None:
        far = facts.bits_per_byte >= MIN_FAR_BITS_RATIO * facts.general_bits_per_byte
        return facts.model_copy(
            update={"distance": "far" if far else "near", "decided_by": "bits-per-byte"}
        )
    of_data, general = facts.tokens_per_word, facts.general_tokens_per_word
    if of_data is None or general is None:
        return facts
    distance = "far" if of_data >= MIN_FAR_TOKENS_RATIO * general else "near"
    return facts.model_copy(update={"distance": distance, "decided_by": "tokens-per-word"})


def general_text() -> str:
    """About 300 words of plain English on general subjects."""
    return (search_spaces() / "general_text.txt").read_text(encoding="utf-8")


def tokens_per_word(texts: Sequence[str], counter: TokenCounter) -> float | None:
    """Tokens for each white-space separated word; None without words."""
    words = sum(len(text.split()) for text in texts)
    return sum(counter.count(texts)) / words if words else None


def language(example: Example) -> str:
    """The text of an example without the system prompt."""
    contents = [message.content for message in example.messages if message.role != "system"]
    return "\n".join(contents) or example.text
