"""The text of data files, whatever its encoding.

UTF-8 is the rule and a byte order mark is honoured. Lines that are not UTF-8 are read in the
likeliest other encoding, and a caution names them.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from sweeper.data.contents import CHUNK_BYTES, MAX_LINE_BYTES, line_too_long, open_data_file
from sweeper.data.problems import listing
from sweeper.errors import DataError

_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")
"""A byte that is not UTF-8, as ``surrogateescape`` decodes it."""

_NON_LATIN = re.compile(rb"[\x80-\xff]{3}")
"""Accented Latin letters stand alone or in pairs; other scripts have longer runs of such bytes."""

_LATIN_ENCODINGS = ("cp1252", "cp1250")
_NON_LATIN_ENCODINGS = (
    *("cp1251", "cp1253", "cp1255", "cp1256", "koi8_r"),
    *("cp932", "gb18030", "big5", "euc_kr", "euc_jp"),
)
"""Encodings that are guessed. cp1252 reads Latin-1, too. Encodings of DOS and mainframes are left
out: guessing one would be wrong more often than right."""

_SAMPLE_BYTES = 2**16
"""The encoding is guessed from this many bytes of lines that are not UTF-8."""

_SAMPLE_LINES = 100


class TextFile:
    """The text of a file, which can be read several times from its beginning.

    Raises:
        DataError: The file is binary.
    """

    def __init__(self, path: Path, file: BinaryIO, name: str) -> None:
        self._path, self._file, self._name = path, file, name
        self._fallback_encoding = ""
        self._non_utf8_lines: dict[int, None] = {}
        head = file.read(_SAMPLE_BYTES)
        self._utf16_or_32 = _wide_encoding(head)
        if not self._utf16_or_32 and b"\0" in head:
            raise DataError(
                "the content is binary, not text",
                why="The file name says that it is text.",
                fix="Give the file the ending of its format, or export it as JSONL, CSV or "
                "Parquet.",
                where=name,
                code="binary-file",
            )

    def head(self, size: int = CHUNK_BYTES, newline: str = "\n") -> str:
        """The first characters, and the rest of the line in which they end."""
        head = ""
        for piece in self.pieces(newline=newline):
            head += piece
            if len(head) >= size:
                break
        return head

    def lines(self, newline: str = "\n") -> Iterator[str]:
        """All lines with their ends.

        Args:
            newline: ``\\n`` ends a line, or, if this is empty, also ``\\r`` alone.

        Raises:
            DataError: A line is too long.
        """
        for number, line in enumerate(self.pieces(MAX_LINE_BYTES + 1, newline), start=1):
            if len(line) > MAX_LINE_BYTES:
                raise line_too_long(self._name, number, len(line))
            yield line

    def pieces(self, size: int = 0, newline: str = "\n") -> Iterator[str]:
        """The lines, in pieces of at most ``size`` characters (``CHUNK_BYTES`` if 0)."""
        size = size or CHUNK_BYTES
        self._file.seek(0)
        number, self._non_utf8_lines = 1, {}
        errors = "strict" if self._utf16_or_32 else "surrogateescape"
        text = io.TextIOWrapper(self._file, self._utf16_or_32 or "utf-8", errors, newline)
        try:
            first = text.readline(size).removeprefix("\ufeff")
            for piece in chain((first,) if first else (), iter(partial(text.readline, size), "")):
                if piece.isascii() or self._utf16_or_32 or not _NOT_UTF8.search(piece):
                    yield piece
                else:
                    self._non_utf8_lines[number] = None
                    self._fallback_encoding = self._fallback_encoding or self._likeliest_encoding()
                    yield _decoded(
                        piece.encode("utf-8", "surrogateescape"), self._fallback_encoding
                    )
                number += piece[-1] in "\r\n"
        except UnicodeDecodeError as error:
            raise DataError(
                f"the file starts like UTF-16 but is not ({error.reason} at byte {error.start})",
                fix="Save it as UTF-8.",
                where=self._name,
            ) from error
        finally:
            if not self._file.closed:
                text.detach()  # else TextIOWrapper closes the file

    def _likeliest_encoding(self) -> str:
        """The encoding of the lines that are not UTF-8, by the first of them."""
        with open_data_file(self._path) as file:
            pieces = iter(partial(file.readline, _SAMPLE_BYTES), b"")
            lines = (b for b in pieces if _NOT_UTF8.search(b.decode("utf-8", "surrogateescape")))
            return _encoding_of(b"".join(islice(lines, _SAMPLE_LINES))[:_SAMPLE_BYTES])

    @property
    def cautions(self) -> tuple[str, ...]:
        """What to check about the text that was read."""
        if self._utf16_or_32.endswith(
            "e"
        ):  # utf_16_le or utf_16_be: guessed, without a byte order mark
            return (
                f"{self._name} is read as {self._utf16_or_32}, which its zero bytes suggest; save "
                "it as UTF-8",
            )
        if not self._non_utf8_lines:
            return ()
        return (
            f"lines of {self._name} that are not UTF-8 are read as {self._fallback_encoding}, the "
            f"most likely encoding (line {listing([*map(str, self._non_utf8_lines)], 3)}): check "
            "the accents. If they are wrong, convert the file: "
            "iconv -f ENCODING -t utf-8 OLD > NEW",
        )


def _wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32, which have zero bytes; empty for all else."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return _guessed_encoding(head, ["utf_16_le", "utf_16_be"]) if b"\0" in head else ""


def _guessed_encoding(data: bytes, encodings: Sequence[str]) -> str:
    """The likeliest of these encodings; empty if none of them is likely."""
    # Imported here, as most files are UTF-8.
    from charset_normalizer import from_bytes

    guess = from_bytes(data, cp_isolation=[*encodings]).best()
    return guess.encoding if guess else ""


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("latin-1")  # which has a character for every byte


def _encoding_of(sample: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8.

    charset-normalizer recognises scripts, but not from a few accents: it takes French for cp1250
    as often as for cp1252. Of these two, the one that decodes more bytes as letters is taken.
    """
    guess = _guessed_encoding(sample, _NON_LATIN_ENCODINGS) if _NON_LATIN.search(sample) else ""
    return guess or max(
        _LATIN_ENCODINGS, key=lambda name: sum(map(str.isalpha, sample.decode(name, "replace")))
    )
