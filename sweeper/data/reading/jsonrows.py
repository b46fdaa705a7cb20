"""Reads rows of JSON or JSON Lines.

The content decides between them; if it is both, as one object in one line, the file's suffix does.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard

from sweeper.data.contents import MAX_LINE_BYTES, MemoryLimit, TextFile, file_and_key, line_too_long
from sweeper.data.examples import SPLIT_NAMES
from sweeper.data.problems import listing
from sweeper.data.table import Fields, NumberedRow, RowTable
from sweeper.errors import DataError
from sweeper.textfiles import json_value

_decode = json.JSONDecoder().raw_decode
_SPACE = re.compile(r"[ \t\r\n]*")
MIN_READ_CHARACTERS = 2**16
"""At least this many characters of a document are read at once."""

_MAX_ESCAPE_CHARACTERS = 8
"""An error this near the end of the text may be a cut escape: ``\\u1234`` has six characters."""

_NO_OBJECT = "a row that is not an object with named fields"
_FILE_FIX = "Repair the file; `python -m json.tool FILE` shows the place."

_Kind = Literal["list", "object", "objects", "lines"]
"""What a file holds: a list, one object, several objects of several lines each, or JSON Lines."""


def read_json(text: TextFile, table: RowTable) -> Iterator[NumberedRow]:
    """Rows of a JSON list, of one under a key of an object, or of JSON Lines.

    Raises:
        DataError: A document is broken or holds no rows, or most lines hold none.
    """
    kind = _kind_of(text, table.suffix)
    if kind == "lines":
        table.how += ["the content is JSON Lines"] if table.suffix == ".json" else []
        return _rows_of_lines(text.lines(), table)
    key = file_and_key(Path(table.name))[1]
    if kind == "object" and not key and (keys := _keys_of_lists(text)):
        key = _key_of_rows(keys, table.name)
    return _rows_of_document(text, key, kind, table)


def json_keys(text: TextFile) -> tuple[str, ...]:
    """The keys of the lists of rows that a document holds; none if it is not an object of lists.

    Raises:
        DataError: The document is broken.
    """
    if _kind_of(text, ".json") != "object":
        return ()
    return _keys_of_lists(text) or tuple(filter(None, _rows_in_object(_whole_value(text))[0]))


def _keys_of_lists(text: TextFile) -> tuple[str, ...]:
    elements = _JsonStream(text).elements("object")
    return tuple({key: None for key, _, value in elements if isinstance(value, Mapping)})


def _kind_of(text: TextFile, suffix: str) -> _Kind:
    """The kind of a text, by its first value and what follows it.

    The suffix decides about one object alone, and about a value that is broken or too long to be
    read here.
    """
    head = text.head().lstrip()
    try:
        _, end = _decode(head)
    except (ValueError, RecursionError):
        if head[:1] == "[":
            return "list"
        if suffix == ".json":
            return "object"
        return "objects" if head.split("\n", 1)[0].strip() == "{" else "lines"
    rest = head[end:].lstrip()
    if head[:1] == "[" and rest[:1] != "{":
        return "list"
    if suffix != ".json" or rest:
        return "objects" if "\n" in head[:end] else "lines"
    return "object"


def _rows_of_lines(lines: Iterable[str], table: RowTable) -> Iterator[NumberedRow]:
    """The objects of JSON Lines with their line numbers; notes the lines that hold none."""
    for number, line in enumerate(lines, start=1):
        try:
            row = json_value(line)
        except ValueError:
            if line and not line.isspace():
                table.leave_out(number, "broken JSON", line.rstrip("\r\n"))
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            table.leave_out(number, _NO_OBJECT, line.rstrip("\r\n"))


def _rows_of_document(
    text: TextFile, key: str, kind: _Kind, table: RowTable
) -> Iterator[NumberedRow]:
    """The objects of a list, numbered by their lines, but no two rows by the same number.

    An element may also be a list of turns, or of cells below a first list with their names.
    """
    number, names = 0, list[Any]()
    for list_key, line, value in _JsonStream(text).elements(kind):
        if list_key != key:
            continue
        rows = [value]
        if _is_list_of(value, Mapping):
            rows = [{"messages": value}]
        elif isinstance(value, list) and (names or _is_list_of(value, str)):
            rows = [dict(zip(names, value, strict=False))] if names else []
            names = names or value
        elif isinstance(value, Mapping):
            rows = [*_squad_questions(value)]
        for row in rows:
            number = max(number + 1, line)
            if isinstance(row, dict):
                yield number, row
            else:
                table.leave_out(number, _NO_OBJECT, json.dumps(row))
    if kind == "object" and not number:
        yield from _rows_of_object(text, key, table)
        return
    content = "JSON objects, read one by one" if kind == "objects" else "a JSON list"
    table.how.append(
        f"the content is {f'an object whose rows lie under `{key}`' if key else content}"
    )


def _rows_of_object(text: TextFile, key: str, table: RowTable) -> Iterator[NumberedRow]:
    """The rows of an object that does not hold them as lists of objects."""
    rows, content = _rows_in_object(_whole_value(text))
    if not rows:
        raise DataError(
            "this JSON holds no list of rows",
            why="Rows are expected as a list, or as lists under keys such as `data` or `train`.",
            fix="Export the rows as JSON Lines, one object a line.",
            where=table.name,
            code="no-rows",
        )
    table.how.append(f"the content is {content}")
    yield from enumerate(rows[key or _key_of_rows(rows, table.name)], start=1)


def _whole_value(text: TextFile) -> Any:
    limit, buffer = MemoryLimit(text.name), io.StringIO()
    for piece in text.pieces():
        buffer.write(piece)
        limit.check(buffer.tell())
    try:
        return json_value(buffer.getvalue())
    except ValueError as error:
        raise _broken_json(error, text.name, getattr(error, "lineno", 1)) from error


def _key_of_rows(keys: Iterable[str], name: str) -> str:
    """The key of the rows: `data`, or the only one.

    Raises:
        DataError: There are several keys, and none is `data`.
    """
    names = list(keys)
    if "data" in names or len(names) == 1:
        return "data" if "data" in names else names[0]
    raise DataError(
        f"the file holds several lists of rows: {listing(names, form='`{}`')}",
        why="Rows lie under `data`, or under the names of splits, such as `train` and `test`.",
        fix="Write the list that is meant into a file of its own.",
        where=name,
    )


def _rows_in_object(document: object) -> tuple[dict[str, list[Fields]], str]:
    """The rows of an object by their key, and a phrase that says how they are written.

    The key is empty unless the rows of several splits lie under their names. Objects of columns
    are those that ``to_json`` and ``to_dict`` of pandas write.
    """
    if not isinstance(document, Mapping):
        return {}, ""
    names, lists = document.get("columns"), document.get("data")
    if isinstance(names, list) and _is_list_of(lists, list):
        rows: list[Fields] = [dict(zip(map(str, names), cells, strict=False)) for cells in lists]
        return {"": rows}, "an object with `columns` and the rows under `data`"
    values = list(document.values())
    if _is_list_of(values, list) and len(set(map(len, values))) == 1 and len(values[0]) > 1:
        rows = [dict(zip(document, cells, strict=True)) for cells in zip(*values, strict=True)]
        return {"": rows}, "an object of columns"
    if not _is_list_of(values, Mapping):
        return {}, ""
    numbers = dict.fromkeys(number for item in values for number in item)
    if all(number.isdigit() for number in numbers):
        rows = [
            {name: cells[number] for name, cells in document.items() if number in cells}
            for number in numbers
        ]
        return {"": rows}, "an object of columns"
    splits = {key: _rows_in_object(part)[0] for key, part in document.items() if key in SPLIT_NAMES}
    if rows_by_split := {key: next(iter(rows.values())) for key, rows in splits.items() if rows}:
        keys = listing(rows_by_split, form="`{}`")
        return rows_by_split, f"an object whose rows lie under {keys}"
    if len({tuple(sorted(item)) for item in values}) <= len(values) / 2 and len(values) > 1:
        return {"": values}, "an object of rows by their names, which are left out"
    return {}, ""


def _is_list_of(values: object, kind: type) -> TypeGuard[list[Any]]:
    return isinstance(values, list) and bool(values) and all(isinstance(v, kind) for v in values)


def _squad_questions(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The row itself or, if it is an article as SQuAD writes them, a row for each question."""
    if not _is_list_of(row.get("paragraphs"), Mapping):
        yield row
        return
    for part in row["paragraphs"]:
        for question in part.get("qas", ()):
            answers = question.get("answers")
            texts = [a.get("text") for a in answers] if _is_list_of(answers, Mapping) else []
            cells = {"title": row.get("title"), "context": part.get("context"), **question}
            yield {**cells, "answers": {"text": texts}}


class _JsonStream:
    """JSON text that is read piece by piece, holding one element of a list at a time."""

    def __init__(self, text: TextFile) -> None:
        self._pieces, self._name = text.pieces(), text.name
        self._text = ""
        self._position = self._counted_position = 0
        self._line = 1  # at the counted position

    def elements(self, kind: _Kind) -> Iterator[tuple[str, int, Any]]:
        """Key of the list (empty without one), line, and value of every element.

        Raises:
            DataError: The text is broken JSON.
        """
        if kind != "object":
            while self._take("["):
                yield from self._elements_until("]")
            yield from self._elements_until("")
        elif self._take("{"):
            while not self._take("}"):
                key = self._value()
                self._require(":")
                if self._take("["):
                    yield from self._elements_until("]", key=str(key))
                else:
                    self._value()
                self._take(",")
            self._require("")

    def _elements_until(self, end: str, key: str = "") -> Iterator[tuple[str, int, Any]]:
        while not self._take(end):
            yield key, self._line_at(self._position), self._value()
            self._take(",")

    def _line_at(self, position: int) -> int:
        """The line of a position, which no later call may precede."""
        self._line += self._text.count("\n", self._counted_position, position)
        self._counted_position = position
        return self._line

    def _take(self, mark: str) -> bool:
        """Whether this mark, or for an empty one the end of the text, comes next; consumes it."""
        while True:
            space = _SPACE.match(self._text, self._position)
            self._position = space.end() if space else self._position
            if self._position < len(self._text) or not self._read_more():
                break
        is_next = self._text[self._position : self._position + 1] == mark
        self._position += is_next and len(mark)
        return is_next

    def _require(self, mark: str) -> None:
        if not self._take(mark):
            message = f"Expecting '{mark}'" if mark else "Extra data"
            raise self._broken(json.JSONDecodeError(message, self._text, self._position))

    def _value(self) -> Any:
        """Consume and return the value that begins here."""
        while True:
            unread_characters = len(self._text) - self._position
            if unread_characters > MAX_LINE_BYTES:
                raise line_too_long(self._name, self._line, unread_characters)
            try:
                value, end = _decode(self._text, self._position)
            except (ValueError, RecursionError) as error:
                if not self._may_be_cut(error) or not self._read_more():
                    raise self._broken(error) from error
            else:
                if end < len(self._text) or not self._read_more():
                    self._position = end
                    return value

    def _may_be_cut(self, error: ValueError | RecursionError) -> bool:
        """Whether the end of the text explains the error: a cut string is reported at its quote."""
        if not isinstance(error, json.JSONDecodeError):
            return False
        near_end = error.pos > len(self._text) - _MAX_ESCAPE_CHARACTERS
        return near_end or self._text[error.pos] == '"'

    def _broken(self, error: ValueError | RecursionError) -> DataError:
        line = self._line_at(getattr(error, "pos", self._position))
        return _broken_json(error, self._name, line)

    def _read_more(self) -> bool:
        """Drop the text before the position, read more than remains of it; False at the end."""
        parts, size = [self._text[self._position :]], 0
        for piece in self._pieces:
            parts.append(piece)
            size += len(piece)
            if size > max(len(parts[0]), MIN_READ_CHARACTERS):
                break
        if size:
            self._line_at(self._position)
            self._text, self._position, self._counted_position = "".join(parts), 0, 0
        return size > 0


def _broken_json(error: ValueError | RecursionError, name: str, line: int) -> DataError:
    if isinstance(error, json.JSONDecodeError):
        what = f"broken JSON: {error.msg} (column {error.colno})"
    else:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        what = f"this JSON cannot be read ({reason})"
    return DataError(what, fix=_FILE_FIX, where=f"{name}:{line}")
