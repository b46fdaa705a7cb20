"""Changes of a file's text, line by line, so that comments and order stay."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from sweeper.features.review._case import as_written
from sweeper.spec import Scalar


def changed_text(
    file: str, text: str, names: Mapping[str, int], change: Mapping[str, Scalar]
) -> str:
    """The text with other values; those that cannot be changed line by line stay.

    A field that the file lacks is added below its last line, or above its siblings.

    Args:
        names: From the fields of the file to their lines.
        change: From fields to values.
    """
    lines, kind = text.splitlines(keepends=True), Path(file).suffix
    added: list[tuple[int, str]] = []
    for field, value in change.items():
        at = names.get(field, 0) - 1
        if field not in names:
            added += filter(None, [_addition(lines, field, value, names, kind)])
        elif at < len(lines) and (new := _replaced(lines[at], field, value, kind)):
            lines[at] = new
    for at, new_line in sorted(added, key=lambda item: -item[0]):
        if at and not lines[at - 1].endswith("\n"):
            lines[at - 1] += "\n"
        lines.insert(at, new_line)
    return "".join(lines)


def diff(file: str, before: str, after: str) -> str:
    """A unified diff, as ``patch`` reads it; empty where nothing changes."""
    pair = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    name = file.lstrip("/")
    return "".join(difflib.unified_diff(*pair, f"a/{name}", f"b/{name}"))


def _replaced(line: str, field: str, value: Scalar, kind: str) -> str | None:
    """The line with another value; None where its value stands on other lines."""
    name = re.escape(field.rpartition(".")[2])
    if kind in (".yaml", ".yml"):
        pattern = rf"""(\s*(?:- )?["']?{name}["']?\s*:)([ \t]+[^#\n]*?)([ \t]*(?:#.*)?)$"""
        match = re.match(pattern, line.rstrip("\n"))
        if match is None or match[2].strip()[:1] in ("", "|", ">", "&", "*", "["):
            return None
        return f"{match[1]} {as_written(value)}{match[3]}\n"
    if kind == ".json":
        pattern, new = rf'("{name}"\s*:\s*)("[^"]*"|[^,{{}}\[\]\s]+)', json.dumps(value)
    elif kind == ".py":
        pattern, new = rf"(\b{name}\s*=\s*)([^,()\[\]\n]+)", repr(value)
    else:
        dashed = name.replace("_", "[-_]")
        pattern, new = rf"(--{dashed}[ =])([^\s\\]+)", as_written(value)
    changed, count = re.subn(pattern, lambda match: f"{match[1]}{new}", line, count=1)
    return changed if count else None


def _addition(
    lines: list[str], field: str, value: Scalar, names: Mapping[str, int], kind: str
) -> tuple[int, str] | None:
    """The line to add and its place; None where it must be added by hand."""
    parent, _, key = field.rpartition(".")
    if kind == ".json" and not parent and lines and lines[0].strip() == "{":
        return 1, f'  "{key}": {json.dumps(value)},\n'
    if kind not in (".yaml", ".yml"):
        return None
    if not parent:
        return len(lines), f"{key}: {as_written(value)}\n"
    siblings = [at for name, at in names.items() if name.rpartition(".")[0] == parent]
    if not siblings:
        return None
    first = lines[min(siblings) - 1]
    indent = first[: len(first) - len(first.lstrip())]
    return min(siblings) - 1, f"{indent}{key}: {as_written(value)}\n"
