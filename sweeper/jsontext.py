"""Reads untrusted JSON: every fault is a ``ValueError``."""

from __future__ import annotations

import json
from typing import Any

_decode = json.JSONDecoder().raw_decode
"""What ``json.loads`` calls. The calls around it take most of its time on a row of 500 bytes."""


def value_of(text: str | bytes) -> Any:
    """The value in a JSON text.

    Raises:
        ValueError: It is not JSON, or is nested deeper than Python follows.
    """
    try:
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
