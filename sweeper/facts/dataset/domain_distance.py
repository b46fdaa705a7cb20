"""The distance of a data set from general English: tokens per word, bits per byte."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.cache import home
from sweeper.child_process import in_child
from sweeper.data.examples import Dataset, Example
from sweeper.errors import UsageError
from sweeper.facts.dataset.lengths import TokenCounter, sample_of
from sweeper.facts.models.model_folder import has_weights, weights_state
from sweeper.facts.record import DataFacts, DomainFacts, ModelFacts
from sweeper.packages import TRAINING, require
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
"""Largest number of rows whose tokens per word are counted."""


def domain_facts(sample: Sequence[Example], counter: TokenCounter, aim: AimSpec) -> DomainFacts:
    """Tokens per word and distance of a sample; a stated distance takes precedence.

    Without a tokenizer, tokens per word are unknown, since tokens are estimated from bytes.
    """
    of_data = tokens_per_word(
        [text_without_system(example) for example in sample[:SAMPLE_ROWS]], counter
    )
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


def text_without_system(example: Example) -> str:
    """The text of an example without the system prompt."""
    contents = [message.content for message in example.messages if message.role != "system"]
    return "\n".join(contents) or example.text


FUNCTION = "sweeper.training.probes.text_bits:measure"
"""Function of the child process that measures bits per byte."""

MAX_PIECES = 40
MAX_BYTES, MIN_BYTES = 300, 40
"""Largest and smallest size of a piece of text. A small model reads 40 pieces of 300 bytes in
seconds on a CPU. The pieces of data and general text are equally long, since a text's later tokens
have lower losses."""

_TIMEOUT_SECONDS = 1800
_COMPARE_TOKENS = "Leave out --measure-domain: tokens per word are then compared."


class BitsRequest(Record):
    """A request to the child process: the model's folder, texts of the data, general texts."""

    folder: str
    texts: tuple[str, ...]
    general: tuple[str, ...]


class Bits(Artifact):
    """Measured bits per byte of a data set and of general text.

    Args:
        bytes: Number of bytes of all texts together.
        seconds: Time that the measurement took.
    """

    bits_per_byte: float = Field(gt=0)
    general_bits_per_byte: float = Field(gt=0)
    bytes: float
    seconds: float


def with_stored_bits(data: DataFacts, model: ModelFacts, aim: AimSpec) -> DataFacts:
    """Data facts with an earlier measurement of this model on these data, if there is one."""
    bits = stored(model, data)
    return data if bits is None else _with_bits(data, bits, aim)


def with_measured_bits(
    dataset: Dataset, data: DataFacts, model: ModelFacts, aim: AimSpec
) -> DataFacts:
    """Data facts with bits per byte: from an earlier measurement, or measured now and stored.

    Raises:
        UsageError: There are no weights, or the model is not a decoder.
        ChildFailed: The child process failed.
    """
    bits = stored(model, data)
    if bits is None:
        texts = pieces([text_without_system(example) for example in sample_of(dataset)])
        bits = _measure(_folder_of(model), texts)
        bits.write(path_of(model, data))
    return _with_bits(data, bits, aim)


def pieces(texts: Sequence[str]) -> list[str]:
    """The beginnings of the first texts, cut between words.

    Short texts are left out unless all texts are short.
    """
    stripped = [text.strip() for text in texts if text.strip()]
    long = [text for text in stripped if len(text.encode()) >= MIN_BYTES]
    return [_cut(text, MAX_BYTES) for text in (long or stripped)[:MAX_PIECES]]


def general_pieces(data_pieces: Sequence[str]) -> list[str]:
    """The general text in pieces of the median length of the data's pieces."""
    sizes = sorted(len(text.encode()) for text in data_pieces)
    max_bytes = max(sizes[len(sizes) // 2], MIN_BYTES)
    pieces = []
    for paragraph in general_text().splitlines():
        rest = paragraph.strip()
        while rest:
            piece = _cut(rest, max_bytes)
            pieces.append(piece)
            rest = rest[len(piece) :].strip()
    return [piece for piece in pieces if len(piece.encode()) >= max_bytes / 2]


def _cut(text: str, max_bytes: int) -> str:
    if len(text.encode()) <= max_bytes:
        return text
    cut = text.encode()[:max_bytes].decode(errors="ignore")
    return cut.rsplit(maxsplit=1)[0] if len(cut.split()) > 1 else cut


def path_of(model: ModelFacts, data: DataFacts) -> Path:
    """The file with the measurement of this model on these data."""
    parts = [model.id, model.revision, weight_files(model), data.fingerprint, general_text()]
    key = hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]
    return home() / "bits-per-byte" / f"{key}.json"


def stored(model: ModelFacts, data: DataFacts) -> Bits | None:
    """An earlier measurement; None if it is missing or cannot be read."""
    return None if data.fingerprint is None else Bits.read_or_none(path_of(model, data))


def weight_files(model: ModelFacts) -> str:
    """Name, size and modification time of the weight files as text; empty if none are here."""
    state = weights_state(Path(model.folder)) if model.folder is not None else []
    return ";".join(":".join(map(str, entry)) for entry in state)


def _folder_of(model: ModelFacts) -> Path:
    """The folder of a decoder with weights.

    Raises:
        UsageError: The model is not a decoder, or its weights are not on this machine.
    """
    if model.kind != "decoder":
        raise UsageError(
            f"bits per byte cannot be measured with {model.id}",
            why=f"It is an {model.kind}, which does not predict the next byte.",
            fix=_COMPARE_TOKENS,
            where="--measure-domain",
        )
    folder = None if model.folder is None else Path(model.folder)
    if folder is None or not has_weights(folder):
        raise UsageError(
            f"the weights of {model.id} are not on this machine",
            why="Bits per byte are computed with the base model.",
            fix="Name a model that is on this machine, or leave out --measure-domain.",
            where="--measure-domain",
        )
    return folder


def _measure(folder: Path, texts: list[str]) -> Bits:
    require("Measuring bits per byte", TRAINING)
    general = tuple(general_pieces(texts))
    return in_child(
        FUNCTION,
        BitsRequest(folder=str(folder), texts=tuple(texts), general=general),
        Bits,
        what="the measurement of bits per byte",
        fix=_COMPARE_TOKENS,
        where="--measure-domain",
        seconds=_TIMEOUT_SECONDS,
    )


def _with_bits(data: DataFacts, bits: Bits, aim: AimSpec) -> DataFacts:
    figures = {
        "bits_per_byte": round(bits.bits_per_byte, 4),
        "general_bits_per_byte": round(bits.general_bits_per_byte, 4),
    }
    domain = with_distance(data.domain.model_copy(update=figures), aim)
    return data.model_copy(update={"domain": domain})
