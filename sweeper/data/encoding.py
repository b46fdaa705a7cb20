"""Bytes to text, and the traces that a wrong encoding leaves in text.

UTF-8 is the rule, a byte order mark is honoured, a few broken characters are replaced and
counted; a file in another encoding is refused, since guessing it would garble names and accents.
"""

from __future__ import annotations

import codecs
import re

from sweeper.errors import DataError

TOLERATED = 0.05
"""Share of lines with broken characters that is replaced and counted; above it, the file is not
UTF-8. It is the share of rows that may differ when a format is recognised."""

REPLACEMENT = "�"

_GARBLED = re.compile(r"�|[\ud800-\udfff]|Ã[\x80-\xbf©¨¼¶¤±]|â€[™œ“”˜¦\x80-\xbf]")
"""U+FFFD, half of a surrogate pair, or UTF-8 that was once read as Latin-1 ("cafÃ©")."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")

_KNOWN_BINARY = {
    b"PK\x03\x04": "a zip archive (or an Excel or Word file)",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"ARROW1": "an Arrow file",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "an image",
    b"GGUF": "model weights",
}


def decode(data: bytes, name: str) -> tuple[str, tuple[int, ...]]:
    """Text of a file, and the lines in which characters had to be replaced.

    Raises:
        DataError: The file is binary, or in another encoding than UTF-8.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return _utf16(data, name), ()
    _refuse_binary(data, name)
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return _with_replacements(data, name)


def is_garbled(text: str) -> bool:
    """Whether characters of this text were lost before it came here.

    >>> is_garbled("cafÃ©"), is_garbled("café")
    (True, False)
    """
    return not text.isascii() and _GARBLED.search(text) is not None


def without_surrogates(text: str) -> str:
    """The text with halves of surrogate pairs replaced: no encoder accepts them."""
    return text if text.isascii() else _SURROGATE.sub(REPLACEMENT, text)


def _utf16(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-16")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the file starts like UTF-16 but is not ({error.reason} at byte {error.start})",
            fix="Save it as UTF-8.",
            where=name,
        ) from error


def _refuse_binary(data: bytes, name: str) -> None:
    kind = next((kind for magic, kind in _KNOWN_BINARY.items() if data.startswith(magic)), None)
    if kind is None and b"\0" in data:
        kind = "binary, not text"
    if kind:
        raise DataError(
            f"the content is {kind}",
            why="The name promises text.",
            fix="Name the file after what it holds, or export it as JSONL, CSV or Parquet.",
            where=name,
        )


def _with_replacements(data: bytes, name: str) -> tuple[str, tuple[int, ...]]:
    lines = data.split(b"\n")
    broken = tuple(number for number, line in enumerate(lines, start=1) if not _is_utf8(line))
    if len(broken) > TOLERATED * len(lines):
        raise DataError(
            f"{len(broken)} of {len(lines)} lines are not UTF-8, the first is line {broken[0]}",
            why="Reading them in a guessed encoding could garble every accent without a trace.",
            fix="Convert the file, for example: iconv -f latin1 -t utf-8 OLD > NEW",
            where=f"{name}:{broken[0]}",
        )
    return data.decode("utf-8-sig", errors="replace"), broken


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
