"""The distance of a data set's language from general English, by the model's tokenizer.

A tokenizer writes the words that it met often in one token and takes rare words to pieces. So
text with more tokens per word than general text has words, a language or a notation that the
model met less often. The measure does not see style, or a subject that common words express:
legal questions count as near.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.data.examples import Example
from sweeper.facts.dataset.lengths import Ruler
from sweeper.facts.record import DomainFacts
from sweeper.resources import search_spaces
from sweeper.spec import AimSpec

FAR = 1.2
"""Tokens per word over those of general text from which on a data set counts as far.

Measured with the tokenizers of MiniLM and SmolLM2 against ``general_text.txt``: news, bank and
music requests, web questions, seed instructions and restaurant reviews 0.9 to 1.18; biomedical
abstracts 1.24 and 1.33; documentation of Python 1.36 and 1.49; German news 2.1; Python code 2.2
and 2.3.
"""

FAR_BITS = 1.3
"""Bits per byte over those of general text from which on a data set counts as far.

Measured with SmolLM2-135M-Instruct, 16 pieces of up to 300 bytes each (``benchmarks/findings.md``):
descriptions with their Python code 0.79, school maths 0.98, documentation of Python 1.03, seed
instructions 1.06, biomedical abstracts 1.07, English news 1.13; German news 2.10. Nothing was
measured between 1.13 and 2.10. Where the two measures disagree, as on abstracts and code, this one
says more: the model takes rare words to pieces and yet knows what comes next.
"""

SAMPLE_ROWS = 500


def domain_facts(sample: Sequence[Example], ruler: Ruler, aim: AimSpec) -> DomainFacts:
    """Distance of a sample's language; the user's statement overrides the measurement."""
    ours = tokens_per_word([language(example) for example in sample[:SAMPLE_ROWS]], ruler)
    general = tokens_per_word([general_text()], ruler) if ruler.measured else None
    facts = DomainFacts(
        tokens_per_word=ours if ruler.measured else None, general_tokens_per_word=general
    )
    return decided(facts, aim)


def decided(facts: DomainFacts, aim: AimSpec) -> DomainFacts:
    """The distance: the user's statement, else by bits per byte if measured, else by tokens."""
    if aim.domain_distance is not None:
        return facts.model_copy(update={"distance": aim.domain_distance, "decided_by": "user"})
    if facts.bits_per_byte is not None and facts.general_bits_per_byte is not None:
        far = facts.bits_per_byte >= FAR_BITS * facts.general_bits_per_byte
        return facts.model_copy(
            update={"distance": "far" if far else "near", "decided_by": "bits-per-byte"}
        )
    ours, general = facts.tokens_per_word, facts.general_tokens_per_word
    if ours is None or general is None:
        return facts
    distance = "far" if ours >= FAR * general else "near"
    return facts.model_copy(update={"distance": distance, "decided_by": "tokens-per-word"})


def general_text() -> str:
    """Some 300 words of plain English: news, weather, history, cooking, sport, money, a story."""
    return (search_spaces() / "general_text.txt").read_text(encoding="utf-8")


def tokens_per_word(texts: Sequence[str], ruler: Ruler) -> float | None:
    """Tokens per word, words being what white space divides; None without a word."""
    words = sum(len(text.split()) for text in texts)
    return sum(ruler.count(texts)) / words if words else None


def language(example: Example) -> str:
    """The texts of an example without the system prompt."""
    spoken = [message.content for message in example.messages if message.role != "system"]
    return "\n".join(spoken) or example.text
