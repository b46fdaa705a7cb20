"""Reads untrusted JSON: every fault is a ``ValueError``."""

from __future__ import annotations

import json
from typing import Any

_decode = json.JSONDecoder().raw_decode
"""What ``json.loads`` calls. The calls around it take most of its time on a row of 500 bytes."""


MOST_FLOAT = 1e39
"""Beyond all that models compute in float32; sums of squares of such numbers stay finite."""


def _bounded(digits: str) -> float:
    if abs(number := float(digits)) > MOST_FLOAT:
        raise ValueError(f"the number {digits:.40} is above {MOST_FLOAT:g}")
    return number


def value_of(text: str | bytes, *, bounded: bool = False) -> Any:
    """The value in a JSON text.

    Args:
        bounded: Refuse larger numbers than models compute.

    Raises:
        ValueError: It is not JSON, or is nested deeper than Python follows.
    """
    try:
        if bounded:
            return json.loads(text, parse_float=_bounded)
        if isinstance(text, str):
            try:
                value, end = _decode(text)
            except json.JSONDecodeError:  # white space in front, or no JSON
                return json.loads(text)
            if text[end:] in ("", "\n", "\r\n"):
                return value
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def object_of(text: str | bytes) -> dict[str, Any]:
    """The object in a JSON text.

    Raises:
        ValueError: It holds none.
    """
    value = value_of(text)
    if not isinstance(value, dict):
        raise ValueError(f"no object, but {type(value).__name__}")
    return value
