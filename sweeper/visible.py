"""Makes text from strangers safe to look at: nothing in it moves a cursor or turns its neighbours.

One function for every place that people read: terminal, report, CSV and Markdown.
"""

from __future__ import annotations

import re

# Control characters except tab and line feed, the bidirectional formatting characters of Unicode
# (UAX #9, section 2), invisible marks that hide letters, halves of surrogate pairs, and what XML
# does not allow in a picture.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2028\u2029"
    "\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\ud800-\udfff\U000e0000-\U000e007f]"
)

MOST_CHARACTERS = 2_000
"""Of one text that is shown: some 25 lines of a terminal."""

LABEL_CHARACTERS = 100

TEXT_CHARACTERS = 1_200
"""Of a row of data, or of an answer to it, beside others."""


def visible(text: str) -> str:
    """The text with characters that cannot be seen written as their code points.

    >>> visible("a\\x1b[31mb\\u202ec\\0")
    'a\\\\x1b[31mb\\\\u202ec\\\\x00'
    """
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(_escaped, text.replace("\r\n", "\n"))


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """At most so many characters, and how many were left out.

    >>> shortened("a" * 50, 10)
    'aaaaaaaaaa… (40 more characters)'
    """
    left = len(text) - most
    return text if left <= 0 else f"{text[:most]}… ({left:,} more characters)"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )
