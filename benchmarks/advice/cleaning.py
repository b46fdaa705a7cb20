"""Records as the rest of the benchmark may trust them: every field of its type, or left out.

What a record leaves out, or holds in a form that cannot be read, takes a stated default: LoRA,
tier A, a loss is better when lower and anything else when higher, and rows of one source, task,
model and metric are compared with each other. Model, task and rows have their defaults in
``records``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.memory.record_fields import parsed

_TEXTS = (
    "method", "model", "model_family", "task", "task_type", "metric", "metric_direction",
    "score_tier", "comparison_group", "source",
)  # fmt: skip
_NUMBERS = (
    "n_params", "n_train", "hidden", "value", "std", "trainable_params", "best_lr", "batch_size",
)  # fmt: skip
#: The least that counts and rates can be; scores and losses may be any number.
_LEAST = {"n_params": 1.0, "n_train": 1.0, "hidden": 1.0, "trainable_params": 1.0, "best_lr": 1e-12}
_LOWER = re.compile(r"loss|perplexity|ppl|nll|error|bits", re.IGNORECASE)


def cleaned(records: Iterable[Any]) -> tuple[list[dict[str, Any]], int]:
    """The records that are objects, cleaned, and how many are not."""
    found, refused = [], 0
    for index, record in enumerate(records, 1):
        if isinstance(record, Mapping):
            found.append(_clean(record, index))
        else:
            refused += 1
    return found, refused


def _clean(record: Mapping[str, Any], index: int) -> dict[str, Any]:
    clean: dict[str, Any] = {"id": str(record.get("id") or index)}
    clean |= {key: text for key in _TEXTS if (text := _text(record.get(key)))}
    for key in _NUMBERS:
        number = _number(record.get(key))
        if number is not None and number >= _LEAST.get(key, -math.inf):
            clean[key] = number
    settings = record.get("hyperparameters")
    clean["hyperparameters"] = dict(settings) if isinstance(settings, Mapping) else {}
    for key in ("lr", "learning_rate", "r", "lora_r", "rank"):
        if key in clean["hyperparameters"]:
            number = _number(clean["hyperparameters"].pop(key))
            if number is not None and number > 0:
                clean["hyperparameters"][key] = number
    clean["diverged"] = record.get("diverged") is True
    clean.setdefault("method", "lora")
    clean.setdefault("score_tier", "A")
    clean.setdefault("source", "unknown")
    clean.setdefault("metric_direction", _direction(clean))
    clean.setdefault("comparison_group", _group(clean))
    return clean


def _direction(clean: Mapping[str, Any]) -> str:
    return "lower is better" if _LOWER.search(str(clean.get("metric") or "")) else "higher"


def _group(clean: Mapping[str, Any]) -> str:
    return "|".join(str(clean.get(key)) for key in ("source", "task", "model", "metric"))


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    number = parsed(value)
    return number if number is not None and math.isfinite(number) else None
