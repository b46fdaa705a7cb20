"""Which model of the catalogue a name means: instruct variants, re-uploads and short names.

A name is cut into words. Words that say how a model was tuned or stored do not change its shape, so
they are set aside; whatever is left must be the words of a known model.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from sweeper.facts.models import catalogue
from sweeper.facts.models.architecture import architecture
from sweeper.facts.models.catalogue import Entry

Words = tuple[str, ...]

_GLUED = re.compile(
    r"^(meta)?(llama|qwen|phi|gemma|smollm|falcon|starcoder|olmo|granite|glm|yi)(\d[\w.]*)$"
)
_SIZE = re.compile(r"^(?:(\d+)x|e)?(\d+(?:\.\d+)?)([bm])$")
_ACTIVE = re.compile(r"^a\d+(?:\.\d+)?[bm]$")
_NO_NUMBER = r"(?:-[^-\d]+)*"
_RELEASE = re.compile(r"^(?:v\d+(?:\.\d+)*|\d{4}|\d{6,8})$")

_CHAT = {"instruct", "chat", "it", "thinking", "reasoning", "think"}
_TUNED = {*_CHAT, "hf", "pt", "sft", "dpo", "rlvr", "preview", "plus", "deduped", "meta"}
_STORED = {
    *("bnb", "4bit", "8bit", "4", "8", "bit", "unsloth", "gptq", "awq", "gguf", "mlx", "exl2"),
    *("int4", "int8", "fp8", "bf16", "fp16", "mxfp4", "nvfp4", "w4a16", "w8a8", "dynamic", "ud"),
    *("q4", "q5", "q6", "q8", "k", "m", "s", "0", "quantized", "onnx", "safetensors"),
}
_PACKED = {"bnb", "4bit", "8bit", "gptq", "awq", "int4", "int8", "fp8", "mxfp4", "nvfp4", "mlx"}
_OTHER_SHAPE = {
    *("vision", "vl", "omni", "audio", "speech", "ocr", "moe", "minitron", "pruned", "draft"),
    *("eagle", "eagle3", "medusa", "speculator", "lora", "qlora", "adapter", "mamba", "embedding"),
    *("reranker", "llava", "merge", "depth", "upscaled", "multimodal", "flash", "guided"),
}
"""With one of these words a model has other layers than the one that it is named after."""

_OTHER_SIZE = {"nano", "tiny", "mini", "micro", "small", "medium", "large", "xlarge", "lite", "air"}
"""So has it with one of these, where no number says the size."""


class Meant(NamedTuple):
    """The known model that a name was matched with.

    Args:
        id: The model of the catalogue.
        alike: It has that model's shape: the entry names it, or the rest of the name says only how
            it was tuned or stored.
        assumed: What a reader must be told; None where nothing was assumed.
        chat: Whether the name says that it was tuned for conversations; None if it says nothing.
    """

    id: str
    entry: Entry
    alike: bool
    assumed: str | None
    chat: bool | None


def meant(name: str) -> Meant | None:
    """The model of the catalogue that a hub id or a short name means, or None."""
    model_id, how = _known(name)
    if model_id is None:
        return None
    words, entry = _words(name), catalogue.entries()[model_id]
    chat = True if _CHAT & set(words) else False if {"base", "pt"} & set(words) else None
    return Meant(model_id, entry, how != "named after", _told(name, model_id, how), chat)


def nearest(name: str) -> str | None:
    """The known id that a reader may have meant: of the same family where there is one."""
    ids = catalogue.entries()
    words, size = _words(name), size_of(name)
    family = [model_id for model_id in ids if _family(model_id) == _family(name)]
    longest = max((_common(_words(model_id), words) for model_id in family), default=0)
    family = [model_id for model_id in family if _common(_words(model_id), words) == longest]
    sized = [model_id for model_id in family if size_of(model_id)]
    if size and sized:
        return min(sized, key=lambda model_id: (_apart(model_id, size), -_alike(model_id, name)))
    best = max(family or ids, key=lambda model_id: _alike(model_id, name))
    return best if _alike(best, name) >= (0.5 if family else 0.75) else None


def size_of(name: str) -> float | None:
    """The number of parameters in a name, with experts counted as if they shared nothing."""
    for word in _words(name):
        if match := _SIZE.match(word):
            return int(match[1] or 1) * float(match[2]) * (1e9 if match[3] == "b" else 1e6)
    return None


How = Literal["same", "alike", "named after"]


def _known(name: str) -> tuple[str | None, How]:
    index, words = _index(), _essential(_words(name))
    spelled = name.lower()
    if spelled in index.spelled:
        return index.spelled[spelled], "same"
    last = spelled.rsplit("/", 1)[-1]
    if last in index.spelled:
        return index.spelled[last], "same"
    if model_id := index.words.get(words) or _one_shape(index.undated.get(_undated(words), ())):
        return model_id, "alike"
    if model_id := _mixture(words):
        return model_id, "alike"
    return _named_after(words), "named after"


def _mixture(words: Words) -> str | None:
    """A mixture of experts by its sizes alone, such as ``8x7B`` or ``30B-A3B``."""
    sizes = tuple(word for word in words if _SIZE.match(word) or _ACTIVE.match(word))
    if sizes != words or not any("x" in word or _ACTIVE.match(word) for word in words):
        return None
    return _one_shape(
        tuple(model_id for own, model_id in _index().words.items() if _holds(own, words))
    )


def _named_after(words: Words) -> str | None:
    """The known model whose words stand in the name, in their order; the most words decide."""
    best: tuple[int, str] | None = None
    for own, model_id in _index().words.items():
        sized = any(_SIZE.match(word) for word in own)
        if best and best[0] >= len(own):
            continue
        if not (_holds(words, own, _NO_NUMBER) if sized else len(own) > 1 and _holds(words, own)):
            continue
        other = _OTHER_SHAPE if sized else _OTHER_SHAPE | _OTHER_SIZE
        rest = [word for word in words if word not in own]
        if not any(word in other or _SIZE.match(word) for word in rest):
            best = (len(own), model_id)
    return best[1] if best else None


def _told(name: str, model_id: str, how: How) -> str | None:
    words = set(_words(name))
    if "gguf" in words:
        return (
            f"Planned as {model_id}: a GGUF file is for inference with llama.cpp and cannot be "
            "trained. Name the model that it was made from."
        )
    if model_id.rsplit("/", 1)[-1].lower() == name.rsplit("/", 1)[-1].lower():
        return None if model_id.lower() == name.lower() else f"Planned as {model_id}."
    shares = "which it is named after" if how == "named after" else "whose shapes it shares"
    note = f"Planned as {model_id}, {shares}; its context may differ."
    if _PACKED & words:
        note += " Its weights are stored quantised; the plan counts those of that model."
    return note


class _Index(NamedTuple):
    spelled: dict[str, str]
    words: dict[Words, str]
    undated: dict[Words, tuple[str, ...]]


@lru_cache(maxsize=1)
def _index() -> _Index:
    spelled = {model_id.lower(): model_id for model_id in catalogue.entries()}
    words: dict[Words, str] = {}
    undated: dict[Words, tuple[str, ...]] = {}
    for model_id, name in _names():
        spelled.setdefault(name.lower(), model_id)
        spelled.setdefault(name.lower().rsplit("/", 1)[-1], model_id)
        essential = _essential(_words(name))
        shape = architecture(catalogue.entries()[model_id].shape)
        if shape.kind == "decoder":  # an encoder's "base" is its size
            essential = tuple(word for word in essential if word != "base")
        words.setdefault(essential, model_id)
        key = _undated(essential)
        undated[key] = (*undated.get(key, ()), model_id)
    return _Index(spelled, words, undated)


def _names() -> Iterable[tuple[str, str]]:
    """Every id, and every other name of an entry, with the id."""
    for model_id, entry in catalogue.entries().items():
        yield from ((model_id, name) for name in (model_id, *entry.also))


def _words(name: str) -> Words:
    parts: list[str] = []
    for word in re.split(r"[-_\s:]+", name.lower().rsplit("/", 1)[-1]):
        glued = _GLUED.match(word)
        parts += [glued[2], glued[3]] if glued else [word] if word else []
    return tuple(parts)


def _essential(words: Words) -> Words:
    """The words that distinguish shapes."""
    sized = any(_SIZE.match(word) for word in words)
    dropped = {*_TUNED, *_STORED} | ({"base"} if sized else set())
    kept = tuple(word for word in words if word not in dropped)
    return kept or words


def _undated(words: Words) -> Words:
    return tuple(word for word in words if not _RELEASE.match(word))


def _holds(words: Words, part: Words, between: str = "") -> bool:
    """Whether the words follow each other, with nothing but this pattern between them."""
    pattern = f"{between}-".join(map(re.escape, part))
    return re.search(f"-{pattern}-", f"-{'-'.join(words)}-") is not None


def _common(first: Words, other: Words) -> int:
    """How many words two names begin with alike."""
    return next(
        (n for n, (a, b) in enumerate(zip(first, other, strict=False)) if a != b),
        min(len(first), len(other)),
    )


def _one_shape(ids: tuple[str, ...]) -> str | None:
    """The first of some models if they have one shape."""
    shapes = {str(sorted(catalogue.entries()[model_id].shape.items(), key=str)) for model_id in ids}
    return ids[0] if len(shapes) == 1 else None


def _family(name: str) -> str | None:
    for word in _words(name):
        for family in _families():
            if word.startswith(family):
                return family
    return None


@lru_cache(maxsize=1)
def _families() -> tuple[str, ...]:
    """First words of the known names, the longest first."""
    first = {_words(model_id)[0] for model_id in catalogue.entries()} - {"all", "meta"}
    return tuple(sorted((word for word in first if len(word) > 1), key=len, reverse=True))


def _apart(model_id: str, size: float) -> float:
    return round(abs(math.log((size_of(model_id) or size) / size)), 1)


def _alike(model_id: str, name: str) -> float:
    spelled, other = (text.lower().rsplit("/", 1)[-1] for text in (model_id, name))
    return difflib.SequenceMatcher(None, spelled, other).ratio()
