"""Opens data files and decodes their text; refuses content that does not fit into memory."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import resource
import stat
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import BinaryIO, TypeVar, cast

import psutil

from sweeper import units
from sweeper.data.problems import listing
from sweeper.errors import DataError

MEMORY_FACTOR = 9
"""Memory that a file takes while it becomes examples, in multiples of its size. Measured with
200,000 rows of 250 characters: 8.3 as CSV, 6.2 as JSON Lines."""

ROW_BYTES = 700
"""Memory of a row without its text. Measured with three million lines of one character."""

CELL_BYTES = 100
"""Memory of a workbook's cell without its text: a pointer in its row, and an object."""

MIN_FREE_BYTES = 2**27
"""Memory that is left to other processes while rows are collected."""

_CHECK_EVERY_ROWS = 10_000
"""Free memory is looked up once for this many rows."""

CHUNK_BYTES = 2**20
"""Files are read in pieces of this size."""

MAX_LINE_BYTES = 64 * 2**20
"""A longer line is refused: at four characters a token, it has 16 million tokens."""


Item = TypeVar("Item")


def file_and_key(path: Path) -> tuple[Path, str]:
    """File and key of a path ``FILE/KEY.json``, such as ``data.json/train.json``.

    It names one list in a JSON file, here the list ``train`` of data.json. For other paths, the
    path and an empty key.
    """
    return (path.parent, path.stem) if path.parent.is_file() else (path, "")


def unpacked_suffix(path: PurePath) -> str:
    """The suffix in lower case; for a packed file, the one before ``.gz``.

    >>> unpacked_suffix(PurePath("rows.JSONL.gz"))
    '.jsonl'
    """
    return PurePath(path.name.lower().removesuffix(".gz")).suffix


@contextmanager
def open_data_file(path: Path) -> Iterator[BinaryIO]:
    """The opened file, unpacked if its name ends in ``.gz``.

    Raises:
        DataError: The file cannot be opened or unpacked, or is not a regular file.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for a writer.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DataError(
            f"cannot read the data: {error.strerror or error}",
            fix="Check the path and its permissions.",
            where=str(path),
        ) from error
    except ValueError as error:  # a null character in the name
        raise DataError(f"this is not a path ({error})", where=repr(str(path))) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise DataError(
            "this is not a regular file",
            why="A pipe or a device may never end.",
            fix="Write its content to a file, and give that.",
            where=str(path),
            code="no-file",
        )
    with os.fdopen(handle, "rb") as file:
        if not path.name.lower().endswith(".gz"):
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(BinaryIO, unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"the file cannot be unpacked ({error})",
                why="Its name ends in .gz, but its content is not (all of) a gzip file.",
                fix="Download it again, or rename it if it is not compressed.",
                where=str(path),
                code="damaged-file",
            ) from error


def free_bytes() -> int:
    """Bytes of memory that this process can still allocate."""
    free: int = psutil.virtual_memory().available
    own_limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if own_limit != resource.RLIM_INFINITY:
        free = min(free, max(0, own_limit - psutil.Process().memory_info().vms))
    return free


class MemoryLimit:
    """Refuses a file that must be held as a whole and takes more memory than is free."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._free_bytes = free_bytes()

    def check(self, size: int, cells: int = 0) -> None:
        """Check that the bytes and cells that were read so far fit into memory.

        Raises:
            DataError: They take more memory than was free at the beginning.
        """
        if MEMORY_FACTOR * size + CELL_BYTES * cells > self._free_bytes:
            raise out_of_memory(self._name)


def limited_by_memory(items: Iterable[Item], name: str) -> Iterator[Item]:
    """The same items, for a caller that keeps all of them in memory.

    Raises:
        DataError: Less than ``MIN_FREE_BYTES`` of memory are free.
    """
    for number, item in enumerate(items, start=1):
        if not number % _CHECK_EVERY_ROWS and free_bytes() < MIN_FREE_BYTES:
            raise out_of_memory(name)
        yield item


def out_of_memory(name: str) -> DataError:
    """The error for rows that do not fit into memory."""
    return DataError(
        f"the rows do not fit into memory, of which {units.gib(free_bytes() / 2**30)} are free",
        why=f"A row takes about {MEMORY_FACTOR} times its text, and {ROW_BYTES} bytes.",
        fix="Give fewer rows, or give them as JSON Lines. `plan`, `run` and `sweeper data check` "
        "leave a large file on the disk, unless an option compares all rows.",
        where=name,
    )


def line_too_long(name: str, number: int, size: int) -> DataError:
    """The error for a line that is too long for an example."""
    return DataError(
        f"this line has {size / 2**20:,.0f} MiB",
        why=f"No example is longer than {MAX_LINE_BYTES // 2**20} MiB.",
        fix="Are the line breaks missing? Divide long documents into rows.",
        where=f"{name}:{number}",
    )


_NOT_UTF8 = re.compile(r"[\udc80-\udcff]")
"""A byte that is not UTF-8, as ``surrogateescape`` decodes it."""

_NON_LATIN = re.compile(rb"[\x80-\xff]{3}")
"""Bytes of another script than Latin, whose accented letters stand alone or in pairs."""

_GUESSED_WIDE_ENCODINGS = ("utf_16_le", "utf_16_be")
"""Encodings of text with zero bytes and without a byte order mark."""

_LATIN_ENCODINGS = ("cp1252", "cp1250")
_NON_LATIN_ENCODINGS = (
    *("cp1251", "cp1253", "cp1255", "cp1256", "koi8_r"),
    *("cp932", "gb18030", "big5", "euc_kr", "euc_jp"),
)
"""Encodings that are guessed. cp1252 reads Latin-1, too. Encodings of DOS and mainframes are left
out: guessing one would be wrong more often than right."""

_SAMPLE_BYTES = 2**16
_SAMPLE_LINES = 100
"""The encoding is guessed from at most this many bytes and lines that are not UTF-8."""


class TextFile:
    """The text of a file, which can be read several times from its beginning.

    Raises:
        DataError: The file is binary.
    """

    def __init__(self, path: Path, file: BinaryIO, name: str) -> None:
        self._path, self._file, self.name = path, file, name
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

    def head(self, size: int = CHUNK_BYTES) -> str:
        """At least the first ``size`` characters, up to the end of a line (or of a piece)."""
        head = ""
        for piece in self.pieces():
            head += piece
            if len(head) >= size:
                break
        return head

    def lines(self) -> Iterator[str]:
        """All lines with their ends: ``\\n``, ``\\r\\n`` or ``\\r``.

        Raises:
            DataError: A line is too long.
        """
        for number, line in enumerate(self.pieces(MAX_LINE_BYTES + 1), start=1):
            if len(line) > MAX_LINE_BYTES:
                raise line_too_long(self.name, number, len(line))
            yield line

    def pieces(self, size: int = CHUNK_BYTES) -> Iterator[str]:
        """The lines; one that has more than ``size`` characters is cut into pieces."""
        self._file.seek(0)
        number, self._non_utf8_lines = 1, {}
        errors = "strict" if self._utf16_or_32 else "surrogateescape"
        text = io.TextIOWrapper(self._file, self._utf16_or_32 or "utf-8", errors, newline="")
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
                where=self.name,
            ) from error
        finally:
            if not self._file.closed:
                text.detach()  # else TextIOWrapper closes the file

    def _likeliest_encoding(self) -> str:
        """The encoding of the lines that are not UTF-8, guessed from the first of them."""
        with open_data_file(self._path) as file:
            lines = iter(partial(file.readline, _SAMPLE_BYTES), b"")
            sample = (b for b in lines if _NOT_UTF8.search(b.decode("utf-8", "surrogateescape")))
            return _encoding_of(b"".join(islice(sample, _SAMPLE_LINES))[:_SAMPLE_BYTES])

    @property
    def cautions(self) -> tuple[str, ...]:
        """Sentences on what to check about the text that was read last."""
        if self._utf16_or_32 in _GUESSED_WIDE_ENCODINGS:
            return (
                f"{self.name} is read as {self._utf16_or_32}, which its zero bytes suggest; save "
                "it as UTF-8",
            )
        if not self._non_utf8_lines:
            return ()
        lines = listing(self._non_utf8_lines, 3)
        return (
            f"lines of {self.name} that are not UTF-8 are read as {self._fallback_encoding}, the "
            f"most likely encoding (line {lines}): check the accents. If they are wrong, convert "
            "the file: iconv -f ENCODING -t utf-8 OLD > NEW",
        )


def _wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32, by a byte order mark or zero bytes; empty for other encodings."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return _guessed_encoding(head, _GUESSED_WIDE_ENCODINGS) if b"\0" in head else ""


def _guessed_encoding(data: bytes, encodings: Sequence[str]) -> str:
    """The likeliest of these encodings; empty if none of them is likely."""
    # Imported here, as most files are UTF-8.
    from charset_normalizer import from_bytes

    guess = from_bytes(data, cp_isolation=[*encodings]).best()
    return guess.encoding if guess else ""


def _decoded(data: bytes, encoding: str) -> str:
    """The text in this encoding; in Latin-1, which decodes every byte, if that fails."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _encoding_of(sample: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8.

    charset-normalizer recognises scripts, but not from a few accents: it takes French for cp1250
    as often as for cp1252. Of these two, the one that decodes more bytes as letters is taken.
    """
    guess = _guessed_encoding(sample, _NON_LATIN_ENCODINGS) if _NON_LATIN.search(sample) else ""
    return guess or max(
        _LATIN_ENCODINGS, key=lambda name: sum(map(str.isalpha, sample.decode(name, "replace")))
    )


_GARBLED = re.compile(r"�|[\ud800-\udfff]|Ã[\x80-\xbf©¨¼¶¤±]|â€[™œ“”˜¦\x80-\xbf]")
"""U+FFFD, half of a surrogate pair, or UTF-8 that was once read as Latin-1 ("cafÃ©")."""

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def is_garbled(text: str) -> bool:
    """Whether the text has characters that a wrong encoding garbled or lost.

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
    return text if text.isascii() else _SURROGATE.sub("�", text)
