"""Bits per byte of the data under the base model: measured by a process with torch, then kept.

A direct measure of how far the data lie from what the model has read: how surprised it is by a byte
of them, against a byte of general text.
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
from sweeper.extras import TRAINING, require
from sweeper.facts.dataset.domain_distance import decided, general_text, language
from sweeper.facts.dataset.lengths import sample_of
from sweeper.facts.models.model_folder import weights_state
from sweeper.facts.record import DataFacts, DomainFacts, ModelFacts
from sweeper.spec import AimSpec

FUNCTION = "sweeper.training.probes.text_bits:measure"

PIECES = 40
LONGEST_BYTES, SHORTEST_BYTES = 300, 40
"""So many texts, cut to so many bytes: 12 kB, which a small model reads in seconds on a CPU. The
paragraphs of the general text have about that length. Both samples are cut to the same length,
since a model is surer the more it has read."""

_TIMEOUT_SECONDS = 1800


class BitsRequest(Record):
    """Texts of the data, general texts, and the folder of the model that reads them."""

    folder: str
    texts: tuple[str, ...]
    general: tuple[str, ...]


class Bits(Artifact):
    """The measurement, with the sizes of the samples."""

    bits_per_byte: float = Field(gt=0)
    general_bits_per_byte: float = Field(gt=0)
    bytes: float
    seconds: float


def known_bits(data: DataFacts, model: ModelFacts, aim: AimSpec) -> DataFacts:
    """The facts with an earlier measurement of this model on these data, if there is one."""
    bits = stored(model, data)
    return data if bits is None else data.model_copy(update={"domain": _joined(data, bits, aim)})


def measured_bits(dataset: Dataset, data: DataFacts, model: ModelFacts, aim: AimSpec) -> DataFacts:
    """The facts with bits per byte, from an earlier measurement or measured now and kept.

    Raises:
        UsageError: There are no weights at hand, the model is no decoder, or the process failed.
    """
    bits = stored(model, data)
    if bits is None:
        texts = pieces([language(example) for example in sample_of(dataset)])
        bits = _measure(_folder_of(model), texts)
        bits.write(path_of(model, data))
    return data.model_copy(update={"domain": _joined(data, bits, aim)})


def pieces(texts: Sequence[str]) -> list[str]:
    """The beginnings of the first texts, cut between words; texts too short to say anything left
    out unless all are."""
    whole = [text.strip() for text in texts if text.strip()]
    long = [text for text in whole if len(text.encode()) >= SHORTEST_BYTES]
    return [_cut(text, LONGEST_BYTES) for text in (long or whole)[:PIECES]]


def general_pieces(like: Sequence[str]) -> list[str]:
    """The general text in pieces about as long as those of the data."""
    sizes = sorted(len(text.encode()) for text in like)
    longest = max(sizes[len(sizes) // 2], SHORTEST_BYTES)
    pieces = []
    for paragraph in general_text().splitlines():
        rest = paragraph.strip()
        while rest:
            piece = _cut(rest, longest)
            pieces.append(piece)
            rest = rest[len(piece) :].strip()
    return [piece for piece in pieces if len(piece.encode()) >= longest / 2]


def _cut(text: str, longest: int) -> str:
    if len(text.encode()) <= longest:
        return text
    cut = text.encode()[:longest].decode(errors="ignore")
    return cut.rsplit(maxsplit=1)[0] if len(cut.split()) > 1 else cut


def path_of(model: ModelFacts, data: DataFacts) -> Path:
    """The file with the measurement of this model on these data."""
    parts = [model.id, model.revision, weight_files(model), data.fingerprint, general_text()]
    key = hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]
    return home() / "bits-per-byte" / f"{key}.json"


def stored(model: ModelFacts, data: DataFacts) -> Bits | None:
    """An earlier measurement; None if there is none, or none that can be read."""
    return None if data.fingerprint is None else Bits.read_or_none(path_of(model, data))


def weight_files(model: ModelFacts) -> str:
    """The state of the model's weights as text; empty where there are none on this machine."""
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


def _joined(data: DataFacts, bits: Bits, aim: AimSpec) -> DomainFacts:
    figures = {
        "bits_per_byte": round(bits.bits_per_byte, 4),
        "general_bits_per_byte": round(bits.general_bits_per_byte, 4),
    }
    return decided(data.domain.model_copy(update=figures), aim)
