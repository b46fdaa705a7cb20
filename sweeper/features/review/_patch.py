"""Changes values in a file line by line, which keeps comments and order."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from sweeper.features.review._case import yaml_text
from sweeper.spec import Scalar


def changed_text(
    file: str, text: str, names: Mapping[str, int], change: Mapping[str, Scalar]
) -> str:
    """The text with changed values; a value that is not on its field's line stays.

    A field that the file lacks is added below its last line, or above its siblings.

    Args:
        names: Lines by field of the file.
        change: New values by field.
    """
    lines, suffix = text.splitlines(keepends=True), Path(file).suffix
    additions: list[tuple[int, str]] = []
    for field, value in change.items():
        index = names.get(field, 0) - 1
        if field not in names:
            additions += filter(None, [_addition(lines, field, value, names, suffix)])
        elif index < len(lines) and (new := _replaced(lines[index], field, value, suffix)):
            lines[index] = new
    for index, new_line in sorted(additions, key=lambda item: -item[0]):
        if index and not lines[index - 1].endswith("\n"):
            lines[index - 1] += "\n"
        lines.insert(index, new_line)
    return "".join(lines)


def diff(file: str, before: str, after: str) -> str:
    """A unified diff, as ``patch`` reads it; empty if nothing changes."""
    both = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    name = file.lstrip("/")
    return "".join(difflib.unified_diff(*both, f"a/{name}", f"b/{name}"))


def _replaced(line: str, field: str, value: Scalar, suffix: str) -> str | None:
    """The line with another value; None if the value is on other lines."""
    name = re.escape(field.rpartition(".")[2])
    if suffix in (".yaml", ".yml"):
        pattern = rf"""(\s*(?:- )?["']?{name}["']?\s*:)([ \t]+[^#\n]*?)([ \t]*(?:#.*)?)$"""
        match = re.match(pattern, line.rstrip("\n"))
        if match is None or match[2].strip()[:1] in ("", "|", ">", "&", "*", "["):
            return None
        return f"{match[1]} {yaml_text(value)}{match[3]}\n"
    if suffix == ".json":
        pattern, new = rf'("{name}"\s*:\s*)("[^"]*"|[^,{{}}\[\]\s]+)', json.dumps(value)
    elif suffix == ".py":
        pattern, new = rf"(\b{name}\s*=\s*)([^,()\[\]\n]+)", repr(value)
    else:
        dashed = name.replace("_", "[-_]")
        pattern, new = rf"(--{dashed}[ =])([^\s\\]+)", yaml_text(value)
    changed, count = re.subn(pattern, lambda match: f"{match[1]}{new}", line, count=1)
    return changed if count else None


def _addition(
    lines: list[str], field: str, value: Scalar, names: Mapping[str, int], suffix: str
) -> tuple[int, str] | None:
    """The index of the line to add, and the line; None if it must be added by hand."""
    parent, _, key = field.rpartition(".")
    if suffix == ".json" and not parent and lines and lines[0].strip() == "{":
        return 1, f'  "{key}": {json.dumps(value)},\n'
    if suffix not in (".yaml", ".yml"):
        return None
    if not parent:
        return len(lines), f"{key}: {yaml_text(value)}\n"
    siblings = [line for name, line in names.items() if name.rpartition(".")[0] == parent]
    if not siblings:
        return None
    first = lines[min(siblings) - 1]
    indent = first[: len(first) - len(first.lstrip())]
    return min(siblings) - 1, f"{indent}{key}: {yaml_text(value)}\n"
