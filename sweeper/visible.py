"""Escapes and shortens untrusted text for terminal, report, CSV and Markdown.

Escaped text cannot move the cursor or reorder the text around it.
"""

from __future__ import annotations

import re

# Control characters except tab and line feed, the bidirectional formatting characters of Unicode
# (UAX #9, section 2), invisible characters, lone surrogates, and characters that XML forbids.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2028\u2029"
    "\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)

MAX_CHARACTERS = 2_000
"""Largest length of a shown text: about 25 lines of a terminal."""

LABEL_CHARACTERS = 100
"""Largest length of a class name or a label in a chart."""

TEXT_CHARACTERS = 1_200
"""Largest length of a row's text or of an answer in a table."""


def visible(text: str) -> str:
    """The text with invisible characters escaped as code points.

    >>> visible("a\\x1b[31mb\\u202ec\\0")
    'a\\\\x1b[31mb\\\\u202ec\\\\x00'
    """
    if text.isascii() and text.isprintable():
        return text
    return _INVISIBLE.sub(_escape_sequence, text.replace("\r\n", "\n"))


def shortened(text: str, most: int = MAX_CHARACTERS) -> str:
    """The first ``most`` characters of a text, and the number of the others.

    >>> shortened("a" * 50, 10)
    'aaaaaaaaaa… (40 more characters)'
    """
    omitted = len(text) - most
    return text if omitted <= 0 else f"{text[:most]}… ({omitted:,} more characters)"


def _escape_sequence(match: re.Match[str]) -> str:
    code = ord(match[0])
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
