"""Well-known models and typical sizes, and the model that a name means. Needs no network.

A name is split into words. Words on how a model was tuned or stored do not change its shape, so
they are ignored; the other words must be those of a known model.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

from pydantic import Field

from sweeper.artifact import Record
from sweeper.errors import ModelError
from sweeper.facts.models.architecture import architecture
from sweeper.facts.models.linear_layers import embedding_parameters, parameters_of
from sweeper.resources import part_of_table, table

Pooling = Literal["mean", "cls", "last"]

# A size alone, such as ``7B`` or ``135 m``, and the factors of its units.
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([MBT])", re.IGNORECASE)
_UNITS = {"M": 10**6, "B": 10**9, "T": 10**12}

MIN_PARAMETERS = 60_000_000
"""Fewest parameters of a typical model: in smaller ones, most are embeddings (Pythia-70M: 51M)."""


class Entry(Record):
    """One model of the catalogue; ``models.yaml`` explains the fields."""

    config: dict[str, object]
    source: str | None = None
    parameters: int
    also: tuple[str, ...] = ()
    license: str | None = None
    chat_template: bool = False
    peak_learning_rate: float | None = Field(None, gt=0)
    peak_learning_rate_source: str | None = None
    size: str | None = None
    pooling: Pooling | None = None
    note: str | None = None

    @property
    def shape(self) -> Mapping[str, object]:
        """The settings of the configuration that describe the layers."""
        not_shape = ("dtype", "max_position_embeddings")
        return {name: value for name, value in self.config.items() if name not in not_shape}


@lru_cache(maxsize=1)
def entries() -> Mapping[str, Entry]:
    """From a model's id to its entry."""
    return _entries(table("models.yaml"))


def entry_of(model_id: str) -> Entry | None:
    """The entry of a model, or of a model with the same shape."""
    same_shape = (entry for entry in entries().values() if model_id in entry.also)
    return entries().get(model_id) or next(same_shape, None)


@lru_cache(maxsize=1)
def _typical_models() -> Mapping[str, Entry]:
    """The models with the field ``size``. Reading all models would take ten times as long."""
    return _entries(part_of_table("models.yaml", "size"))


def _entries(models: Mapping[str, object]) -> Mapping[str, Entry]:
    return {name: Entry.model_validate(fields) for name, fields in models.items()}


def parse_size(text: str) -> int | None:
    """The number of parameters of a size such as ``7B``; None if the text is not a size.

    >>> parse_size("7B"), parse_size("135m"), parse_size("seven")
    (7000000000, 135000000, None)
    """
    match = _SIZE.fullmatch(text.strip())
    return round(float(match[1]) * _UNITS[match[2].upper()]) if match else None


def typical(parameters: int) -> tuple[str, dict[str, object]]:
    """A shape of about this size: the nearest typical model's id, and a configuration.

    If no typical model is within 10% of the size, the nearest one's number of layers is scaled:
    larger models are also wider, but memory and time depend mainly on the number of parameters.

    Raises:
        ModelError: The size is too small for a language model.
    """
    if parameters < MIN_PARAMETERS:
        raise ModelError(
            f"{parameters:,} parameters are fewer than a typical language model has",
            why="Models of this size differ too much to have a typical shape.",
            fix="Name a model, for example packaged:minilm.",
            where="model",
        )
    sizes = {
        model_id: size
        for model_id, entry in _typical_models().items()
        if (size := parse_size(entry.size or "")) is not None
    }
    nearest_id = min(sizes, key=lambda model_id: abs(math.log(sizes[model_id] / parameters)))
    config = dict(_typical_models()[nearest_id].config)
    shape = architecture(config)
    actual = parameters_of(shape)
    if abs(actual / parameters - 1) > 0.1:
        embeddings = embedding_parameters(shape)
        growth = (parameters - embeddings) / (actual - embeddings)
        config["num_hidden_layers"] = max(1, round(shape.layers * growth))
    return nearest_id, config


Words = tuple[str, ...]

# A word that joins a family and its version, such as ``llama3.1``.
_NAME_WITH_VERSION = re.compile(
    r"^(meta)?(llama|qwen|phi|gemma|smollm|falcon|starcoder|olmo|granite|glm|yi)(\d[\w.]*)$"
)
# A size as a word of a name: ``7b``, ``8x7b`` (experts), ``e4b`` (Gemma 3n).
_SIZE_PATTERN = re.compile(r"^(?:(\d+)x|e)?(\d+(?:\.\d+)?)([bm])$")
# The active parameters of a mixture of experts, such as ``a3b``.
_ACTIVE_SIZE = re.compile(r"^a\d+(?:\.\d+)?[bm]$")
# Words without a digit, such as "coder" in "llama-2-coder-7b".
_NO_NUMBER = r"(?:-[^-\d]+)*"
# A version or date, such as ``v0.3`` or ``2507``.
_RELEASE = re.compile(r"^(?:v\d+(?:\.\d+)*|\d{4}|\d{6,8})$")

# Words that say how a model was tuned or stored, which do not change its shape.
_CHAT_WORDS = {"instruct", "chat", "it", "thinking", "reasoning", "think"}
_TUNING_WORDS = {
    *_CHAT_WORDS,
    "hf",
    "pt",
    "sft",
    "dpo",
    "rlvr",
    "preview",
    "plus",
    "deduped",
    "meta",
}
_STORAGE_WORDS = {
    *("bnb", "4bit", "8bit", "4", "8", "bit", "unsloth", "gptq", "awq", "gguf", "mlx", "exl2"),
    *("int4", "int8", "fp8", "bf16", "fp16", "mxfp4", "nvfp4", "w4a16", "w8a8", "dynamic", "ud"),
    *("q4", "q5", "q6", "q8", "k", "m", "s", "0", "quantized", "onnx", "safetensors"),
}
# The storage words that name a quantised format.
_QUANTIZED_WORDS = {
    "bnb",
    "4bit",
    "8bit",
    "gptq",
    "awq",
    "int4",
    "int8",
    "fp8",
    "mxfp4",
    "nvfp4",
    "mlx",
}
_SHAPE_WORDS = {
    *("vision", "vl", "omni", "audio", "speech", "ocr", "moe", "minitron", "pruned", "draft"),
    *("eagle", "eagle3", "medusa", "speculator", "lora", "qlora", "adapter", "mamba", "embedding"),
    *("reranker", "llava", "merge", "depth", "upscaled", "multimodal", "flash", "guided"),
}
"""Words that say that a model's layers differ from the model that it is named after."""

_SIZE_WORDS = {"nano", "tiny", "mini", "micro", "small", "medium", "large", "xlarge", "lite", "air"}
"""Words that say that a model's size differs, if the known name has no size in numbers."""


class NameMatch(NamedTuple):
    """The known model that a name was matched with.

    Args:
        id: The id of the known model.
        entry: Its entry in the catalogue.
        same_shape: Whether the named model has the known model's shape. True if the catalogue has
            the name, or if its further words say only how it was tuned, stored or released.
        assumption: A note for the reader; None if nothing was assumed.
        chat: Whether the named model is tuned for conversations; None if the name does not say.
    """

    id: str
    entry: Entry
    same_shape: bool
    assumption: str | None
    chat: bool | None


def match(name: str) -> NameMatch | None:
    """The model of the catalogue that a hub id or short name means, or None."""
    model_id, how = _find(name)
    if model_id is None:
        return None
    words, entry = _words(name), entries()[model_id]
    chat = True if _CHAT_WORDS & set(words) else False if {"base", "pt"} & set(words) else None
    return NameMatch(model_id, entry, how != "named after", _assumption(name, model_id, how), chat)


def nearest(name: str) -> str | None:
    """The most similar known id, of the same family if there is one; None if none is similar."""
    ids = entries()
    words, size = _words(name), size_of(name)
    relatives = [model_id for model_id in ids if _family(model_id) == _family(name)]
    common = {model_id: _common_length(_words(model_id), words) for model_id in relatives}
    longest = max(common.values(), default=0)
    relatives = [model_id for model_id in relatives if common[model_id] == longest]
    sized = [model_id for model_id in relatives if size_of(model_id)]
    if size and sized:
        return min(
            sized,
            key=lambda model_id: (_size_distance(model_id, size), -_similarity(model_id, name)),
        )
    best = max(relatives or ids, key=lambda model_id: _similarity(model_id, name))
    return best if _similarity(best, name) >= (0.5 if relatives else 0.75) else None


def size_of(name: str) -> float | None:
    """The parameters that a name states, or None. ``8x7B`` is 56e9, as if experts shared none."""
    for word in _words(name):
        if match := _SIZE_PATTERN.match(word):
            return int(match[1] or 1) * float(match[2]) * (1e9 if match[3] == "b" else 1e6)
    return None


How = Literal["same", "alike", "named after"]
"""How a name was matched.

``same``: the catalogue has the name. ``alike``: its words on shape are those of a known model, or
its sizes are those of one mixture of experts. ``named after``: it has all words of a known model.
"""


def _find(name: str) -> tuple[str | None, How]:
    """The id of the known model that a name means, and how it was matched."""
    index, words = _index(), _shape_words(_words(name))
    spelled = name.lower()
    if spelled in index.spelled:
        return index.spelled[spelled], "same"
    last = spelled.rsplit("/", 1)[-1]
    if last in index.spelled:
        return index.spelled[last], "same"
    if model_id := index.words.get(words) or _first_if_same_shape(
        index.undated.get(_without_dates(words), ())
    ):
        return model_id, "alike"
    if model_id := _mixture(words):
        return model_id, "alike"
    return _named_after(words), "named after"


def _mixture(words: Words) -> str | None:
    """The mixture of experts that sizes alone mean, such as ``8x7B``; None if unclear."""
    sizes = tuple(word for word in words if _SIZE_PATTERN.match(word) or _ACTIVE_SIZE.match(word))
    if sizes != words or not any("x" in word or _ACTIVE_SIZE.match(word) for word in words):
        return None
    return _first_if_same_shape(
        tuple(
            model_id
            for known_words, model_id in _index().words.items()
            if _contains(known_words, words)
        )
    )


def _named_after(words: Words) -> str | None:
    """The known model whose words are all in the name, in order; of several, that with most."""
    best: tuple[int, str] | None = None
    for known_words, model_id in _index().words.items():
        sized = any(_SIZE_PATTERN.match(word) for word in known_words)
        if best and best[0] >= len(known_words):
            continue
        # Only a known name with a size is still clear with other words in between.
        if not (
            _contains(words, known_words, _NO_NUMBER)
            if sized
            else len(known_words) > 1 and _contains(words, known_words)
        ):
            continue
        excluded = _SHAPE_WORDS if sized else _SHAPE_WORDS | _SIZE_WORDS
        rest = [word for word in words if word not in known_words]
        if not any(word in excluded or _SIZE_PATTERN.match(word) for word in rest):
            best = (len(known_words), model_id)
    return best[1] if best else None


def _assumption(name: str, model_id: str, how: How) -> str | None:
    words = set(_words(name))
    if "gguf" in words:
        return (
            f"Planned as {model_id}: a GGUF file is for inference with llama.cpp and cannot be "
            "trained. Name the model that it was made from."
        )
    if model_id.rsplit("/", 1)[-1].lower() == name.rsplit("/", 1)[-1].lower():
        return None if model_id.lower() == name.lower() else f"Planned as {model_id}."
    relation = "which it is named after" if how == "named after" else "whose shape it shares"
    note = f"Planned as {model_id}, {relation}; its context may differ."
    if _QUANTIZED_WORDS & words:
        note += f" Its weights are stored quantised; the plan counts the weights of {model_id}."
    return note


class _Index(NamedTuple):
    """The ids of known models.

    Args:
        spelled: The id by full name, and by name without the organisation, in lower case.
        words: The id of the first model with these words on shape.
        undated: The ids of all models with these words on shape, without dates and versions.
    """

    spelled: dict[str, str]
    words: dict[Words, str]
    undated: dict[Words, tuple[str, ...]]


@lru_cache(maxsize=1)
def _index() -> _Index:
    spelled = {model_id.lower(): model_id for model_id in entries()}
    words: dict[Words, str] = {}
    undated: dict[Words, tuple[str, ...]] = {}
    for model_id, name in _names():
        spelled.setdefault(name.lower(), model_id)
        spelled.setdefault(name.lower().rsplit("/", 1)[-1], model_id)
        essential = _shape_words(_words(name))
        shape = architecture(entries()[model_id].shape)
        if shape.kind == "decoder":  # in encoders, "base" is a size
            essential = tuple(word for word in essential if word != "base")
        words.setdefault(essential, model_id)
        key = _without_dates(essential)
        undated[key] = (*undated.get(key, ()), model_id)
    return _Index(spelled, words, undated)


def _names() -> Iterable[tuple[str, str]]:
    """(id, name) for each name of each entry."""
    for model_id, entry in entries().items():
        yield from ((model_id, name) for name in (model_id, *entry.also))


def _words(name: str) -> Words:
    """The words of a name without its organisation, in lower case; ``llama3`` is two words."""
    parts: list[str] = []
    for word in re.split(r"[-_\s:]+", name.lower().rsplit("/", 1)[-1]):
        glued = _NAME_WITH_VERSION.match(word)
        parts += [glued[2], glued[3]] if glued else [word] if word else []
    return tuple(parts)


def _shape_words(words: Words) -> Words:
    """The words that distinguish shapes; all words if none does."""
    sized = any(_SIZE_PATTERN.match(word) for word in words)
    dropped = {*_TUNING_WORDS, *_STORAGE_WORDS} | ({"base"} if sized else set())
    kept = tuple(word for word in words if word not in dropped)
    return kept or words


def _without_dates(words: Words) -> Words:
    return tuple(word for word in words if not _RELEASE.match(word))


def _contains(words: Words, part: Words, between: str = "") -> bool:
    """Whether ``part`` is in ``words``, in order, with only the pattern ``between`` in between."""
    pattern = f"{between}-".join(map(re.escape, part))
    return re.search(f"-{pattern}-", f"-{'-'.join(words)}-") is not None


def _common_length(first: Words, other: Words) -> int:
    """The number of words at the start of two names that are the same."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, other, strict=False)) if a != b),
        min(len(first), len(other)),
    )


def _first_if_same_shape(ids: tuple[str, ...]) -> str | None:
    """The first of these models if all have the same shape, else None."""
    shapes = {str(sorted(entries()[model_id].shape.items(), key=str)) for model_id in ids}
    return ids[0] if len(shapes) == 1 else None


def _family(name: str) -> str | None:
    """The known first word with which a word of the name starts, such as ``llama``."""
    for word in _words(name):
        for family in _families():
            if word.startswith(family):
                return family
    return None


@lru_cache(maxsize=1)
def _families() -> tuple[str, ...]:
    """The first words of all known names, longest first."""
    not_families = {"all", "meta"}  # all-MiniLM, Meta-Llama
    first = {_words(model_id)[0] for model_id in entries()} - not_families
    return tuple(sorted((word for word in first if len(word) > 1), key=len, reverse=True))


def _size_distance(model_id: str, size: float) -> float:
    """The logarithm of the ratio of two sizes, rounded, so that similar sizes are equal."""
    return round(abs(math.log((size_of(model_id) or size) / size)), 1)


def _similarity(model_id: str, name: str) -> float:
    spelled, other = (text.lower().rsplit("/", 1)[-1] for text in (model_id, name))
    return difflib.SequenceMatcher(None, spelled, other).ratio()
