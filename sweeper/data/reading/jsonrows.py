"""JSON and JSON Lines to rows. The content decides which of them it is, not the file's name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from sweeper.data.problems import Problems
from sweeper.data.table import Numbered, RowTable
from sweeper.errors import DataError
from sweeper.jsontext import value_of


def read_json(text: str, name: str, suffix: str) -> RowTable:
    """Rows of a JSON list, of an object that holds them as ``data``, or of JSON Lines.

    Raises:
        DataError: Broken JSON, or most rows are broken or no objects (all of them are named).
    """
    start = text.lstrip()
    try:
        if start.startswith("["):
            how = "a JSON list" if suffix != ".json" else ""
            return _table(name, _rows_of_list(_parse(text, name), name), how)
        if suffix == ".json" and is_one_document(text):
            return _document(_parse(text, name), name)
        how = "JSON Lines" if suffix == ".json" else ""
        return _table(name, _lines(text, name), how)
    except DataError:
        if (found := _objects_in(text)) is None:
            raise
        return _table(name, found, "JSON objects, read one by one")


Rows = tuple[tuple[Numbered, ...], tuple[tuple[int, str], ...]]
"""The rows, and line and reason of those that cannot be read."""


def _table(name: str, found: Rows, how: str) -> RowTable:
    rows, broken = found
    return RowTable(name, rows, how=(f"the content is {how}",) if how else (), broken=broken)


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


def _parse(text: str, name: str) -> object:
    try:
        return value_of(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"broken JSON: {error.msg} (column {error.colno})",
            fix="Repair the file; `python -m json.tool FILE` shows the place.",
            where=f"{name}:{error.lineno}",
        ) from error
    except ValueError as error:
        raise DataError(f"this JSON cannot be read ({error})", where=name) from error


def _document(document: object, name: str) -> RowTable:
    if isinstance(document, Mapping):
        rows = document.get("data")
        if isinstance(rows, list):
            return _table(name, _rows_of_list(rows, name), "an object whose rows lie under `data`")
        held = f"an object with the keys {', '.join(map(repr, list(document)[:8]))}"
    else:
        held = f"a single {type(document).__name__}"
    raise DataError(
        f"no rows found: the file holds {held}",
        why="Rows are expected as a list, or as a list under the key `data`.",
        fix="Export the rows as JSON Lines, one object a line.",
        where=name,
    )


def _rows_of_list(rows: object, name: str) -> Rows:
    problems = Problems()
    broken: list[tuple[int, str]] = []
    kept: list[Numbered] = []
    for number, row in enumerate(rows if isinstance(rows, list) else [], start=1):
        if isinstance(row, Mapping):
            kept.append((number, row))
        else:
            broken.append((number, _NO_OBJECT))
            problems.add(_not_an_object(row), where=f"{name}, row {number}")
    refuse_most(len(kept), broken, problems)
    return tuple(kept), tuple(broken)


def _lines(text: str, name: str) -> Rows:
    problems = Problems()
    broken: list[tuple[int, str]] = []
    # Not splitlines(): U+2028 and its like may stand unescaped inside a JSON string.
    kept = list(objects(text.split("\n"), name, problems, broken))
    refuse_most(len(kept), broken, problems)
    return tuple(kept), tuple(broken)


_OBJECT = re.compile(r"^([ \t]*)(?:\[[ \t]*)?\{", re.MULTILINE)


def _objects_in(text: str) -> Rows | None:
    """The objects that begin a line, of a list that is broken or printed in several lines a row.

    None if most of what is there is something else.
    """
    decoder = json.JSONDecoder()
    kept: list[Numbered] = []
    broken: list[tuple[int, str]] = []
    end, line, indent, whole = 0, 1, None, True

    def pass_to(place: int) -> None:
        """Go on to a place; what lies in between is no object, or the rest of a broken one."""
        nonlocal line
        for number, part in enumerate(text[end:place].split("\n")):
            if whole and part.strip(" \t\r,[]"):
                broken.append((line + number, _NO_OBJECT))
        line += text.count("\n", end, place)

    for found in _OBJECT.finditer(text):
        start = found.end() - 1
        indent = len(found[1]) if indent is None else indent
        if start < end or len(found[1]) > indent:
            continue
        pass_to(start)
        try:
            row, end = decoder.raw_decode(text, start)
            kept.append((line, row))
            line, whole = line + text.count("\n", start, end), True
        except (ValueError, RecursionError):
            broken.append((line, _BROKEN))
            end, whole = start, False
    pass_to(len(text))
    return (tuple(kept), tuple(broken)) if len(kept) > max(1, len(broken)) else None


def objects(
    lines: Iterable[str], name: str, problems: Problems, broken: list[tuple[int, str]]
) -> Iterator[Numbered]:
    """The objects of JSON Lines with their line numbers; notes the lines that hold none."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = value_of(line)
        except ValueError as error:
            broken.append((number, _BROKEN))
            problems.add(_broken(error), where=f"{name}:{number}", fix=_LINE_FIX)
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            broken.append((number, _NO_OBJECT))
            problems.add(_not_an_object(row), where=f"{name}:{number}", fix=_LINE_FIX)


def refuse_most(kept: int, broken: list[tuple[int, str]], problems: Problems) -> None:
    """Refuse a file of which more rows are broken than can be read.

    Raises:
        DataError: This is not what the file holds.
    """
    if len(broken) > kept:
        problems.raise_any()


_BROKEN = "broken JSON"
_NO_OBJECT = "a row that is not an object with named fields"
_LINE_FIX = "Each line must hold one JSON object; repair or remove the line."


def _broken(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"broken JSON: {error.msg} (column {error.colno})"
    return f"this JSON cannot be read ({error})"


def _not_an_object(row: object) -> str:
    return f"a row must be an object with named fields, but this is {type(row).__name__}"
