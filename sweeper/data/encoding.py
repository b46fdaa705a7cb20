"""Finds characters that a wrong encoding garbled, and removes invisible ones."""

from __future__ import annotations

import re

REPLACEMENT = "�"

_GARBLED = re.compile(r"�|[\ud800-\udfff]|Ã[\x80-\xbf©¨¼¶¤±]|â€[™œ“”˜¦\x80-\xbf]")
"""U+FFFD, half of a surrogate pair, or UTF-8 that was once read as Latin-1 ("cafÃ©")."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def is_garbled(text: str) -> bool:
    """Whether a wrong encoding garbled or lost characters of this text.

    >>> is_garbled("cafÃ©"), is_garbled("café")
    (True, False)
    """
    return not text.isascii() and _GARBLED.search(text) is not None


_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u200b\u2060\ufeff]")
"""Control characters, soft hyphens, zero-width spaces and byte order marks. Joiners (U+200C,
U+200D) are letters of Persian and Hindi, and parts of emoji."""


def visible(text: str) -> str:
    """The text without invisible characters."""
    return _INVISIBLE.sub("", text)


def without_surrogates(text: str) -> str:
    """The text with U+FFFD for halves of surrogate pairs, which no encoder accepts."""
    return text if text.isascii() else _SURROGATE.sub(REPLACEMENT, text)
