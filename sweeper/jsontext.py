"""Reads untrusted JSON: every error is a ``ValueError``."""

from __future__ import annotations

import json
from typing import Any

_decode = json.JSONDecoder().raw_decode
"""``json.loads`` calls this function; direct calls are much faster on short rows."""

MAX_FLOAT = 1e39
"""Larger than any float32; sums of squares of such numbers stay finite."""


def _bounded_float(digits: str) -> float:
    if abs(number := float(digits)) > MAX_FLOAT:
        raise ValueError(f"the number {digits:.40} is above {MAX_FLOAT:g}")
    return number


def value_of(text: str | bytes, *, bounded: bool = False) -> Any:
    """The value in a JSON text.

    Args:
        bounded: Whether floats above ``MAX_FLOAT`` are refused.

    Raises:
        ValueError: The text is not JSON, is nested too deeply, or has a refused float.
    """
    try:
        if bounded:
            return json.loads(text, parse_float=_bounded_float)
        if isinstance(text, str):
            try:
                value, end = _decode(text)
            except json.JSONDecodeError:  # leading white space, or no JSON
                return json.loads(text)
            if text[end:] in ("", "\n", "\r\n"):
                return value
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def object_of(text: str | bytes) -> dict[str, Any]:
    """The object in a JSON text.

    Raises:
        ValueError: The text is not a JSON object.
    """
    value = value_of(text)
    if not isinstance(value, dict):
        raise ValueError(f"no object, but {type(value).__name__}")
    return value
