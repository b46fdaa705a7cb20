"""Model shapes out of what a record calls its model: a known name, a configuration, a size.

Knows names and sizes, not what is done with the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from benchmarks.memory.record_fields import Record, number_of
from sweeper.errors import ModelError
from sweeper.facts.models import catalogue
from sweeper.facts.models.architecture import SYNONYMS, architecture
from sweeper.facts.models.linear_layers import parameters_of
from sweeper.facts.record import ModelFacts, ModelShape

Config = dict[str, Any]

#: Where a record may keep the model's ``config.json``.
_NESTED = ("config", "model_config", "architecture_config", "hf_config")
_MIXTURE = re.compile(r"(\d+)\s*x\s*(\d+(?:\.\d+)?)\s*b\b", re.IGNORECASE)
_ACTIVE = re.compile(r"(\d+(?:\.\d+)?)\s*b-a(\d+(?:\.\d+)?)\s*b\b", re.IGNORECASE)
_SIZE = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)\s*([mb])(?![a-z0-9])", re.IGNORECASE)
#: A sparse model whose shape stands for others that are named by total and active size.
_SPARSE = "Qwen/Qwen3-30B-A3B"


def config_in(record: Record) -> Config | None:
    """The configuration that a record holds, nested or with its fields beside the others."""
    for key in _NESTED:
        nested = record.get(key)
        if isinstance(nested, Mapping):
            return dict(nested)
    widths = {"hidden_size", "text_config", *SYNONYMS["hidden_size"]}
    layers = {"num_hidden_layers", *SYNONYMS["num_hidden_layers"]}
    if "text_config" in record or (widths & set(record) and layers & set(record)):
        return dict(record)
    return None


def named(record: Record) -> tuple[Config, str] | None:
    """The configuration of the model that a record names, and how it was found; None if unknown."""
    name = str(record.get("model") or record.get("model_id") or record.get("model_name") or "")
    if not name.strip():
        return None
    match = catalogue.match(name)
    if match is not None:
        return dict(match.entry.config), f"shape of {match.id} from the catalogue"
    return _sized(name)


def _sized(name: str) -> tuple[Config, str] | None:
    """A typical shape of the size in a name; mixtures keep their number of experts."""
    mixture, active, size = _MIXTURE.search(name), _ACTIVE.search(name), _SIZE.search(name)
    if mixture:
        config = _typical(float(mixture[2]) * 1e9)
        config |= {"model_type": "mixtral", "num_local_experts": int(mixture[1])}
        how = f"{mixture[1]} experts of a typical {mixture[2]}B model assumed from the name"
        return config | {"num_experts_per_tok": 2}, f"shape estimated: {how}"
    if active:
        return _sparse(float(active[1]) * 1e9, float(active[2]) * 1e9)
    if size:
        parameters = float(size[1]) * (1e9 if size[2].lower() == "b" else 1e6)
        if parameters < catalogue.MIN_PARAMETERS:
            return None
        return _typical(parameters), f"shape estimated: a typical {size[0]} model"
    return None


def _typical(parameters: float) -> Config:
    return dict(catalogue.typical(round(parameters))[1])


def _sparse(total: float, active: float) -> tuple[Config, str]:
    """A known sparse shape, width and depth by the active size and experts by the total."""
    entry = catalogue.entries().get(_SPARSE)
    assert entry is not None  # a test finds it there
    config: Config = dict(entry.config)
    shape = architecture(config)
    moe = shape.moe
    assert moe is not None
    idle = moe.experts - moe.experts_per_token
    used = parameters_of(shape) - idle * _expert(shape, moe.intermediate_size)
    factor = (active / used) ** (1 / 3)
    config |= {
        "hidden_size": max(round(shape.hidden_size * factor / 128), 1) * 128,
        "moe_intermediate_size": max(round(moe.intermediate_size * factor / 128), 1) * 128,
        "num_hidden_layers": max(round(shape.layers * factor), 1),
    }
    grown = architecture(config)
    assert grown.moe is not None
    each = _expert(grown, grown.moe.intermediate_size)
    rest = parameters_of(grown) - grown.moe.experts * each
    experts = max(round((total - rest) / each), moe.experts_per_token)
    how = f"{experts} experts of which {moe.experts_per_token} work, like {_SPARSE}"
    return config | {"num_experts": experts}, f"shape estimated from the sizes in the name: {how}"


def _expert(shape: ModelShape, wide: int) -> int:
    """Weights of one expert in all layers."""
    return shape.layers * 3 * shape.hidden_size * wide


def facts_from(record: Record, config: Config) -> ModelFacts | None:
    """Facts of a configuration, or None where it does not describe a language model."""
    try:
        shape = architecture(config)
    except (ModelError, ArithmeticError):
        return None
    stated = number_of(record, "n_params", "parameters", "num_parameters")
    return ModelFacts(
        id=str(record.get("model") or record.get("id") or "unknown"),
        source="catalogue",
        parameters=stated or parameters_of(shape),
        parameters_exact=False,
        **dict(shape),
    )
