"""Bits per byte of the data under the base model, measured in a child process and stored.

Compared with those of general text, they directly measure how far the data are from the texts that
the model was trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from sweeper.artifact import Artifact, Record
from sweeper.cache import home
from sweeper.child_process import in_child
from sweeper.data.examples import Dataset
from sweeper.errors import UsageError
from sweeper.facts.dataset.domain_distance import general_text, language, with_distance
from sweeper.facts.dataset.lengths import sample_of
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import DataFacts, DomainFacts, ModelFacts
from sweeper.packages import TRAINING, require
from sweeper.spec import AimSpec

FUNCTION = "sweeper.training.probes.text_bits:measure"

MAX_PIECES = 40
MAX_BYTES, MIN_BYTES = 300, 40
"""Length of the pieces of text: a small model reads 40 of 300 bytes in seconds on a CPU. Both
samples are cut to the same length, since the loss falls along a text."""

_TIMEOUT_SECONDS = 1800


class BitsRequest(Record):
    """A request to the child: texts of the data, general texts, and the model's folder."""

    folder: str
    texts: tuple[str, ...]
    general: tuple[str, ...]


class Bits(Artifact):
    """The measurement, with the size of the sample in bytes and its time."""

    bits_per_byte: float = Field(gt=0)
    general_bits_per_byte: float = Field(gt=0)
    bytes: float
    seconds: float


def with_stored_bits(data: DataFacts, model: ModelFacts, aim: AimSpec) -> DataFacts:
    """Data facts with an earlier measurement of this model on these data, if there is one."""
    bits = stored(model, data)
    return (
        data if bits is None else data.model_copy(update={"domain": _domain_facts(data, bits, aim)})
    )


def with_measured_bits(
    dataset: Dataset, data: DataFacts, model: ModelFacts, aim: AimSpec
) -> DataFacts:
    """Data facts with bits per byte: stored ones, else measured now and stored.

    Raises:
        UsageError: There are no weights, the model is no decoder, or the child process failed.
    """
    bits = stored(model, data)
    if bits is None:
        texts = pieces([language(example) for example in sample_of(dataset)])
        bits = _measure(_folder_of(model), texts)
        bits.write(path_of(model, data))
    return data.model_copy(update={"domain": _domain_facts(data, bits, aim)})


def pieces(texts: Sequence[str]) -> list[str]:
    """The beginnings of the first texts, cut between words. Short texts are left out unless all
    are short."""
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
    if model.kind != "decoder":
        raise UsageError(
            f"bits per byte cannot be measured with {model.id}",
            why=f"It is an {model.kind}, which does not predict the next byte.",
            fix="Leave out --measure-domain: then tokens per word are compared.",
            where="--measure-domain",
        )
    folder = None if model.folder is None else Path(model.folder)
    if folder is None or not any(folder.glob("*.safetensors")):
        raise UsageError(
            f"the weights of {model.id} are not on this machine",
            why="The base model itself computes them.",
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
        fix="Leave out --measure-domain: then tokens per word are compared.",
        where="--measure-domain",
        seconds=_TIMEOUT_SECONDS,
    )


def _domain_facts(data: DataFacts, bits: Bits, aim: AimSpec) -> DomainFacts:
    figures = {
        "bits_per_byte": round(bits.bits_per_byte, 4),
        "general_bits_per_byte": round(bits.general_bits_per_byte, 4),
    }
    return with_distance(data.domain.model_copy(update=figures), aim)
