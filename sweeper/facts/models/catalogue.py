"""Well-known models and typical sizes, from ``search_spaces/models.yaml``: no network needed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from pydantic import Field

from sweeper.artifact import Record
from sweeper.errors import ModelError
from sweeper.facts.models.architecture import architecture
from sweeper.facts.models.linear_layers import embedding_parameters, parameters_of
from sweeper.resources import part_of_table, table

Pooling = Literal["mean", "cls", "last"]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([MBT])", re.IGNORECASE)
_UNIT = {"M": 10**6, "B": 10**9, "T": 10**12}

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
    """Model id to its entry."""
    return _entries(table("models.yaml"))


def entry_of(model_id: str) -> Entry | None:
    """The entry of a model, or of a model with the same shape."""
    same_shape = (entry for entry in entries().values() if model_id in entry.also)
    return entries().get(model_id) or next(same_shape, None)


@lru_cache(maxsize=1)
def _typical_models() -> Mapping[str, Entry]:
    """The typical models of a size. Reading all models would take ten times as long."""
    return _entries(part_of_table("models.yaml", "size"))


def _entries(models: Mapping[str, object]) -> Mapping[str, Entry]:
    return {name: Entry.model_validate(fields) for name, fields in models.items()}


def parse_size(text: str) -> int | None:
    """The number of parameters of a size such as ``7B``; None if the text is no size.

    >>> parse_size("7B"), parse_size("135m"), parse_size("seven")
    (7000000000, 135000000, None)
    """
    match = _SIZE.fullmatch(text.strip())
    return round(float(match[1]) * _UNIT[match[2].upper()]) if match else None


def typical(parameters: int) -> tuple[str, dict[str, object]]:
    """A shape of about this size: the nearest typical model's id, and a configuration.

    If no typical model is within 10% of the size, the nearest one's number of layers is scaled:
    larger models are also wider, but memory and time depend on the product.

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
