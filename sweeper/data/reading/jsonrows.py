"""JSON and JSON Lines to rows. The content decides which of them it is, not the file's name."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sweeper.data.contents import MOST_LINE_BYTES
from sweeper.data.examples import SPLIT_NAMES
from sweeper.data.problems import listing, raise_any
from sweeper.data.table import Broken, Numbered, RowTable
from sweeper.errors import DataError, Problem
from sweeper.jsontext import value_of


def read_json(text: str, name: str, suffix: str, key: str = "") -> RowTable:
    """Rows of a JSON list, of one under a key of an object, or of JSON Lines.

    Raises:
        DataError: Broken JSON, or most rows are broken or no objects (all of them are named).
    """
    if text.lstrip()[:1] != "[" and not (suffix == ".json" and is_one_document(text)):
        try:
            return _lines(text, name, suffix)
        except DataError:
            table = _scanned(text, name)[""]
            if len(table.rows) <= max(1, len(table.broken)):
                raise
            return table
    tables = lists_in(text, name)
    table = tables[key or the_rows(tables, name)]
    refuse_most(len(table.rows), table.broken)
    return table


def is_one_document(text: str) -> bool:
    """Whether a text, or one that begins so, is one document, and no JSON Lines."""
    first = text.lstrip().split("\n", 1)
    if len(first) == 1 or not first[1].strip():
        return True
    try:
        value_of(first[0])
    except ValueError:
        return True
    return False


def lists_in(text: str, name: str) -> dict[str, RowTable]:
    """The rows of a document by their key, which is empty where there is none.

    Raises:
        DataError: It holds none.
    """
    tables = _scanned(text, name)
    found = {key: one for key, one in tables.items() if one.rows}
    if found and not any("paragraphs" in one.rows[0][1] for one in found.values()):
        return found
    try:
        document = value_of(text)
    except ValueError as error:
        if found:
            return found
        where = f"{name}:{getattr(error, 'lineno', 1)}"
        raise DataError(_broken(error), fix=_FILE_FIX, where=where) from error
    whole = document
    if isinstance(document, list):
        whole = {"data": document} if found else _of_lists(document)
        if not whole:
            return tables
    rows, said = _of_object(whole) if isinstance(whole, Mapping) else ({}, "")
    if rows:
        how = (f"the content is {said}",)
        return {k: RowTable(name, (*enumerate(r, start=1),), how=how) for k, r in rows.items()}
    held = f"a single {type(document).__name__}"
    if isinstance(document, Mapping):
        held = f"an object with the keys {', '.join(map(repr, list(document)[:8]))}"
    raise DataError(
        f"no rows found: the file holds {held}",
        why="Rows are expected as a list, or as lists under keys such as `data` or `train`.",
        fix="Export the rows as JSON Lines, one object a line.",
        where=name,
    )


def the_rows(keys: Iterable[str], name: str) -> str:
    """The key of the rows: `data`, or the only one.

    Raises:
        DataError: There are several.
    """
    known = list(keys)
    if "data" in known or len(known) == 1:
        return "data" if "data" in known else known[0]
    raise DataError(
        f"the file holds several lists of rows: {listing([f'`{key}`' for key in known])}",
        why="Rows lie under `data`, or under the names of splits, such as `train` and `test`.",
        fix="Write the list that is meant into a file of its own.",
        where=name,
    )


def _of_object(document: Mapping[str, Any]) -> tuple[dict[str, list[Mapping[str, Any]]], str]:
    """The rows of an object by their key, and in words how they are written if not as lists."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    values = list(document.values())
    if isinstance(names := document.get("columns"), list) and _all(document.get("data"), list):
        cells = ((map(str, names), row) for row in document["data"])
        return {
            "": [dict(zip(*both, strict=False)) for both in cells]
        }, "an object with `columns` and the rows under `data`"
    for key, value in document.items():
        if _all(value, Mapping):
            found[key] = [row for one in value for row in _questions(one)]
        elif key.lower() in SPLIT_NAMES and isinstance(value, Mapping):
            found |= dict.fromkeys([key], next(iter(_of_object(value)[0].values()), []))
    if found := {key: rows for key, rows in found.items() if rows}:
        return found, f"an object whose rows lie under {listing([f'`{key}`' for key in found])}"
    if _all(values, list) and len(set(map(len, values))) == 1 and len(values[0]) > 1:
        columns = [[(name, cell) for cell in cells] for name, cells in document.items()]
        return {"": [dict(row) for row in zip(*columns, strict=True)]}, "an object of columns"
    if not _all(values, Mapping):
        return {}, ""
    if all(str(number).isdigit() for one in values for number in one):
        by_number: dict[str, dict[str, Any]] = {}
        for name, cells in document.items():
            for number, cell in cells.items():
                by_number.setdefault(number, {})[name] = cell
        return {"": [*by_number.values()]}, "an object of columns"
    if len({tuple(sorted(one)) for one in values}) <= len(values) / 2 and len(values) > 1:
        return {"": values}, "an object of rows by their names, which are left out"
    return {}, ""


def _of_lists(rows: list[Any]) -> dict[str, Any]:
    """Rows that are lists, of turns or of cells below their names, as an object that is read."""
    if rows and all(_all(row, Mapping) for row in rows):
        return {"data": [{"messages": row} for row in rows]}
    if len(rows) > 1 and _all(rows, list) and _all(rows[0], str):
        return {"columns": rows[0], "data": rows[1:]}
    return {}


def _all(values: object, kind: type) -> bool:
    return isinstance(values, list) and bool(values) and all(isinstance(v, kind) for v in values)


def _questions(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A row itself, or the questions of one in the form of SQuAD."""
    if not _all(row.get("paragraphs"), Mapping):
        yield row
        return
    for part in row["paragraphs"]:
        for one in part.get("qas", ()):
            answers = one.get("answers")
            texts = [a.get("text") for a in answers] if _all(answers, Mapping) else []
            cells = {"title": row.get("title"), "context": part.get("context"), **one}
            yield {**cells, "answers": {"text": texts}}


def _scanned(text: str, name: str) -> dict[str, RowTable]:
    rows: dict[str, list[Numbered]] = {"": []}
    broken: dict[str, list[Broken]] = defaultdict(list)
    stream = JsonStream([text])
    for key, number, raw, row in stream.elements():
        if isinstance(row, Mapping):
            rows.setdefault(key, []).append((number, row))
        else:
            broken[key].append(broken_row(name, number, row, raw))
    return {
        key: RowTable(name, tuple(part), stream.how(key), {}, (*broken[key],), stream.cautions)
        for key, part in rows.items()
    }


def broken_row(name: str, line: int, reason: str, text: str) -> Broken:
    """A row of a list that cannot be read."""
    return Broken(line, reason, text, Problem(reason, fix=_FILE_FIX, where=f"{name}:{line}"))


_SPACE = re.compile(r"[ \t\r\n]*")
_FIRST_KEY = re.compile(r'\{[ \t\r\n]*"(?:[^"\\]|\\.)*"[ \t\r\n]*:')
_DECODER = json.JSONDecoder()
_CUT = 8
"""Characters before the end in which an error may come from the end: ``\\u1234`` has six."""

_HEAD = 2**20
"""Characters in which the first of several objects, one after the other, must end."""

_KEPT = 2**16
"""Characters that are kept while the next row is looked for."""


class JsonStream:
    """JSON text that comes in pieces, of which one row at a time is held."""

    def __init__(self, chunks: Iterable[str]) -> None:
        self._chunks = iter(chunks)
        self._text = ""
        self._at = self._counted = 0
        self._line = 1
        self._indent: int | None = None
        self._kept: int | None = None
        self._first_key = ""
        self._number = 0
        self._listed = False
        self.cautions: tuple[str, ...] = ()

    def elements(self) -> Iterator[tuple[str, int, str, Mapping[str, Any] | str]]:
        """Key of the list, line, text, and object of every row, or why there is none."""
        mark = self._next()
        while mark == "[":
            self._at += 1
            self._listed = True
            yield from self._of_list("")
            mark = self._next()
        if mark == "{" and not self._is_sequence():
            self._at += 1
            yield from self._of_document()
        elif mark:
            yield from self._of_list("", closed=False)

    def how(self, key: str) -> tuple[str]:
        """In words, how the rows under a key are written."""
        plain = "a JSON list" if self._listed else "JSON objects, read one by one"
        return (f"the content is {f'an object whose rows lie under `{key}`' if key else plain}",)

    def _of_document(self) -> Iterator[tuple[str, int, str, Mapping[str, Any] | str]]:
        while (mark := self._next()) not in ("", "}"):
            if mark == ",":
                self._at += 1
                continue
            try:
                key, _ = self._value()
                if self._next() != ":":
                    return
                self._at += 1
                if self._next() != "[":
                    self._value()
                    continue
            except ValueError:
                return
            self._at += 1
            self._number = 0
            yield from self._of_list(str(key))

    def _of_list(
        self, key: str, closed: bool = True
    ) -> Iterator[tuple[str, int, str, Mapping[str, Any] | str]]:
        while (mark := self._next()) not in ("", "]"):
            if mark == ",":
                self._at += 1
                continue
            self._line += self._text.count("\n", self._counted, self._at)
            self._counted = self._at
            self._number = max(self._number + 1, self._line)
            try:
                value, text = self._value()
            except (ValueError, RecursionError):
                held, start = self._text, self._at
                self._resume()
                end = self._at if self._text is held else len(held)
                yield key, self._number, held[start:end].rstrip(" \t\r\n,"), _BROKEN
                continue
            yield key, self._number, text, value if isinstance(value, Mapping) else _NO_OBJECT
        self._at += len(mark)
        if closed and not mark:
            self.cautions = ("the list of rows is not closed: the end of the file may be missing",)

    def _is_sequence(self) -> bool:
        """Whether the first object ends soon, and others come after it."""
        self._kept = self._at
        try:
            self._value(_HEAD)
            return self._next() != ""
        except (ValueError, RecursionError):
            return False
        finally:
            self._at, self._kept = self._kept, None

    def _more(self) -> bool:
        """Read on, as much again as is held; what lies before the place is let go."""
        start = self._at if self._kept is None else self._kept
        parts, size = [self._text[start:]], 0
        for chunk in self._chunks:
            parts.append(chunk)
            size += len(chunk)
            if size > len(parts[0]):
                break
        if size:
            self._line += self._text.count("\n", self._counted, start)
            self._text, self._at = "".join(parts), self._at - start
            self._counted, self._kept = 0, None if self._kept is None else 0
        return size > 0

    def _next(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            found = _SPACE.match(self._text, self._at)
            end = found.end() if found else self._at
            if end < len(self._text) or not self._more():
                break
        space = self._text[self._at : end]
        self._indent = len(space) - space.rfind("\n") - 1 if "\n" in space else None
        self._at = end
        return self._text[end : end + 1]

    def _value(self, most: int = MOST_LINE_BYTES) -> tuple[Any, str]:
        """The value that begins here, with its text."""
        while True:
            held = len(self._text) - self._at
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():
                    break
            except json.JSONDecodeError as error:
                cut = error.pos > len(self._text) - _CUT or self._text[error.pos] == '"'
                if not cut or held > most or not self._more():
                    raise
        text = self._text[self._at : end]
        self._at = end
        return value, text

    def _resume(self) -> None:
        """Go on to where the next row seems to begin.

        Where rows begin lines, it is an object that is indented no more than the broken row.
        Elsewhere, it is one with the same first key.
        """
        if (first := _FIRST_KEY.match(self._text, self._at)) and not self._first_key:
            self._first_key = re.escape(first[0])
        pattern = re.compile(self._first_key or r"\{")
        if self._indent is not None:
            pattern = re.compile(rf"(?<=\n)[ \t]{{0,{self._indent}}}(?:\[[ \t]*)?\{{")
        self._at += 1
        while not (found := pattern.search(self._text, self._at)):
            self._at = max(self._at, len(self._text) - _KEPT)
            if not self._more():
                self._at = len(self._text)
                return
        self._at = found.end() - 1 if self._indent is not None else found.start()


def _lines(text: str, name: str, suffix: str) -> RowTable:
    broken: list[Broken] = []
    # Not splitlines(): U+2028 and its like may stand unescaped inside a JSON string.
    rows = tuple(objects(text.split("\n"), name, broken))
    refuse_most(len(rows), broken)
    how = ("the content is JSON Lines",) if suffix == ".json" else ()
    return RowTable(name, rows, how=how, broken=tuple(broken))


def objects(lines: Iterable[str], name: str, broken: list[Broken]) -> Iterator[Numbered]:
    """The objects of JSON Lines with their line numbers; notes the lines that hold none."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = value_of(line)
        except ValueError as error:
            reason, what = _BROKEN, _broken(error)
        else:
            if isinstance(row, dict):
                yield number, row
                continue
            reason = _NO_OBJECT
            what = f"a row must be an object with named fields, but this is {type(row).__name__}"
        problem = Problem(what, fix=_LINE_FIX, where=f"{name}:{number}")
        broken.append(Broken(number, reason, line.rstrip("\r\n"), problem))


def refuse_most(kept: int, broken: Sequence[Broken]) -> None:
    """Refuse a file of which more rows are broken than can be read.

    Raises:
        DataError: This is not what the file holds.
    """
    if len(broken) > kept:
        raise_any([one.problem for one in broken if one.problem])


_BROKEN = "broken JSON"
_NO_OBJECT = "a row that is not an object with named fields"
_FILE_FIX = "Repair the file; `python -m json.tool FILE` shows the place."
_LINE_FIX = "Each line must hold one JSON object; repair or remove the line."


def _broken(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg} (column {error.colno})"
    return f"this JSON cannot be read ({error})"
