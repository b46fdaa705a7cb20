"""Reads one field of a measurement record: numbers, switches and words, however they are written.

A value that cannot be read counts as missing and is remembered, so that whoever prints the
prediction can name the record and the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_NUMBER = re.compile(r"~?\s*([-+]?\d[\d,_]*(?:\.\d+)?(?:e[+-]?\d+)?)\s*([kmbt]?)(?![a-z0-9])", re.I)
_NOTHING = frozenset({"", "none", "null", "unknown", "n/a", "na", "-", "?", "not stated"})
_YES, _NO = frozenset({"true", "yes", "on", "1"}), frozenset({"false", "no", "off", "0"})


def text_of(record: Record, *keys: str) -> str:
    """The values of some fields as one lower-case text."""
    return " ".join(str(record.get(key) or "") for key in keys).lower()


def number_of(record: Record, *keys: str) -> int | None:
    """The first of some fields that holds a number of at least one.

    ``4096``, ``4096.0``, ``"4,096"`` and ``"7B"`` are numbers.
    """
    for key in keys:
        value = parsed(record.get(key))
        if value is not None and math.isfinite(value) and value >= 1:
            return int(value)
    return None


def flag_of(record: Record, key: str) -> bool | None:
    """A switch; a way of doing it, such as ``unsloth``, means that it is on. None if not said."""
    value = record.get(key)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    if not isinstance(value, str) or value.strip().lower() in _NOTHING - {"none"}:
        return None
    word = value.strip().lower()
    return word not in _NO and word != "none"


def unreadable(record: Record, numbers: tuple[str, ...], flags: tuple[str, ...]) -> list[str]:
    """What is wrong with fields that hold something else than they should, in words."""
    found = []
    for key in numbers:
        value = record.get(key)
        if _is_missing(value):
            continue
        number = parsed(value)
        if number is None or not math.isfinite(number):
            found.append(f"{key} is {_shown(value)}, which is not a number")
        elif number < 0:
            found.append(f"{key} is {_shown(value)}, which is below zero")
    for key in flags:
        value = record.get(key)
        if isinstance(value, (list, dict, float)):
            found.append(f"{key} is {_shown(value)}, which is neither true nor false")
    return found


def parsed(value: object) -> float | None:
    """A number, however it is written; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if not isinstance(value, str):
        return None
    match = _NUMBER.match(value.strip())
    if match is None:
        return None
    return float(re.sub(r"[,_]", "", match[1])) * _UNITS[match[2].lower()]


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
