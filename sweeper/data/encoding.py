"""Bytes to text, and the traces that a wrong encoding leaves in text.

UTF-8 is the rule and a byte order mark is honoured. Lines that are not UTF-8 are read one by one in
the likeliest other encoding, and that is said. No character is lost.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sweeper.errors import DataError

REPLACEMENT = "�"

_GARBLED = re.compile(r"�|[\ud800-\udfff]|Ã[\x80-\xbf©¨¼¶¤±]|â€[™œ“”˜¦\x80-\xbf]")
"""U+FFFD, half of a surrogate pair, or UTF-8 that was once read as Latin-1 ("cafÃ©")."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NOT_UTF8 = re.compile(r"[\udc80-\udcff]+")
"""Bytes that are not UTF-8, as ``surrogateescape`` decodes them."""

_UTF8 = re.compile(r"[\x80-\ud7ff\ue000-\U0010ffff]")
_MANY_IN_A_ROW = re.compile(r"[\udc80-\udcff]{3}")
"""Accents stand alone or in pairs; letters of other scripts make words."""

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


_LATIN = ("cp1252", "cp1250")
_LEGACY = (
    *(*_LATIN, "cp1251", "cp1253", "cp1255", "cp1256", "koi8_r"),
    *("cp932", "gb18030", "big5", "euc_kr", "euc_jp"),
)
"""Encodings that files come in besides UTF-8 and UTF-16. cp1252 reads Latin-1, too. Others, such as
those of DOS and of mainframes, are rarer than wrong guesses of them."""

LISTED_LINES = 20
"""Lines that are not UTF-8 that are named; the others are counted."""

GUESSED_FROM = 2**16
"""Bytes of lines that are not UTF-8 that the encoding is guessed from."""


@dataclass(frozen=True)
class Decoded:
    """The text of a file, and what to check about it."""

    text: str
    cautions: tuple[str, ...] = ()


def decode(data: bytes, name: str) -> Decoded:
    """The text of a file.

    Raises:
        DataError: The file is binary.
    """
    if encoding := utf16_of(data):
        with whole_utf16(name):
            return Decoded(data.decode(encoding), cautions=utf16_caution(encoding, name))
    _refuse_binary(data, name)
    try:
        return Decoded(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return _line_by_line(data.removeprefix(codecs.BOM_UTF8), name)


def is_garbled(text: str) -> bool:
    """Whether characters of this text were lost before it came here.

    >>> is_garbled("cafÃ©"), is_garbled("café")
    (True, False)
    """
    return not text.isascii() and _GARBLED.search(text) is not None


_UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u200b\u2060\ufeff]")
"""Control characters, soft hyphens, zero-width spaces and byte order marks. Joiners (U+200C,
U+200D) are letters of Persian and Hindi, and parts of emoji."""


def visible(text: str) -> str:
    """The text without characters that cannot be seen."""
    return _UNSEEN.sub("", text)


def without_surrogates(text: str) -> str:
    """The text with halves of surrogate pairs replaced: no encoder accepts them."""
    return text if text.isascii() else _SURROGATE.sub(REPLACEMENT, text)


def utf16_of(data: bytes) -> str:
    """UTF-16, by its mark or by the zero bytes of ASCII characters, or UTF-32 by its mark.

    Empty for all else.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = data[:GUESSED_FROM]
    if len(data) % 2 or sample.count(0) < len(sample) / 4:
        return ""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if min(even, odd) * 20 > max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def utf16_caution(encoding: str, name: str) -> tuple[str, ...]:
    """What to check where a file has no mark."""
    if encoding in ("utf-16", "utf-32"):
        return ()
    return (f"{name} is read as {encoding}, which its zero bytes suggest; save it as UTF-8",)


@contextmanager
def whole_utf16(name: str) -> Iterator[None]:
    """Turn what is raised about a file that is not UTF-16 after all into our error."""
    try:
        yield
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
            why="The file name says that it is text.",
            fix="Give the file the ending of its format, or export it as JSONL, CSV or Parquet.",
            where=name,
        )


def _line_by_line(data: bytes, name: str) -> Decoded:
    lines = data.split(b"\n")
    broken = [number for number, line in enumerate(lines, start=1) if not _is_utf8(line)]
    encoding = encoding_of(b"\n".join(lines[number - 1] for number in broken))
    # A file that was put together from several holds UTF-8, too.
    text = "\n".join(decoded_line(line, encoding) for line in lines)
    count = len(lines) - (not lines[-1])  # behind the last end of a line there is none
    return Decoded(text, (read_as(encoding, len(broken), count, name, broken[:LISTED_LINES]),))


def decoded_line(line: bytes, encoding: str) -> str:
    """A line as UTF-8, or as the encoding where it is not.

    In Latin script, only the bytes that are not UTF-8 are read in the other encoding.

    >>> decoded_line("Größe".encode() + b" K\\xf6ln", "cp1252")
    'Größe Köln'
    """
    try:
        return line.decode()
    except UnicodeDecodeError:
        pass
    if encoding not in _LATIN:
        return _legacy(line, encoding)
    return _NOT_UTF8.sub(
        lambda match: _legacy(match[0].encode("utf-8", "surrogateescape"), encoding),
        line.decode("utf-8", "surrogateescape"),
    )


def _legacy(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("latin-1")  # which has a character for every byte


def read_as(encoding: str, broken: int, lines: int, name: str, first: Sequence[int]) -> str:
    """The caution about lines that are not UTF-8."""
    where = ", ".join(map(str, first)) + (
        f" and {broken - len(first):,} more" * (broken > len(first))
    )
    return (
        f"{broken:,} of {lines:,} lines of {name} not in UTF-8 (line {where}) but read as "
        f"{encoding}, the most likely encoding: check the accents. If they are wrong, write these "
        "lines anew in UTF-8, or convert a file that is all in one encoding: "
        "iconv -f ENCODING -t utf-8 OLD > NEW"
    )


def encoding_of(sample: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8.

    charset-normalizer tells scripts apart, but takes French for cp1250 as often as for cp1252: both
    read it as letters. Between the two, the one that gives more letters wins, cp1252 at a tie. Of a
    few accents it makes any script.
    """
    sample = sample[:GUESSED_FROM]
    if _MANY_IN_A_ROW.search(_UTF8.sub("", sample.decode("utf-8", "surrogateescape"))):
        # Here, since most files are UTF-8.
        from charset_normalizer import from_bytes

        guess = from_bytes(sample, cp_isolation=[*_LEGACY]).best()
        if guess is not None and guess.encoding not in _LATIN:
            return guess.encoding
    return max(_LATIN, key=lambda one: sum(map(str.isalpha, sample.decode(one, errors="replace"))))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
