"""Reads a file into configurations: YAML, JSON, command lines in a script, calls in Python.

Everything is data: no variable is expanded but those that the script itself sets, and nothing runs.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeper import yamlfile
from sweeper.errors import UsageError
from sweeper.features.review._formats import ReadConfiguration, configuration, formats, leaves
from sweeper.features.review._record import Finding
from sweeper.textfile import read_text

#: Far beyond any configuration or script that people write.
MOST_BYTES = 2**20
#: Flags of a command that a table must explain before it counts as a training.
_LEAST_FLAGS = 3
_ASSIGNED = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(\S+)\s*$")
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")

_NAMED, _TRAINING = (ast.Name, ast.Attribute), ("Config", "Trainer", "Arguments")

_Values = dict[str, tuple[object, int]]


def read(path: Path) -> list[ReadConfiguration]:
    """The configurations of a file: one, or one for each training command of a script.

    Raises:
        UsageError: It cannot be read, or trains nothing that is known.
    """
    where, refused = str(path), list[Finding]()
    candidates: list[_Values]
    if path.suffix in (".yaml", ".yml", ".json"):
        document = yamlfile.read(path)
        if not isinstance(document.data, dict):
            raise UsageError("this file does not hold keys and values", where=where)
        values = leaves(document.data)
        named = {".".join(map(str, at)): (value, document.lines.get(at, 0)) for at, value in values}
        candidates = [named]
        words = {"kind": "unreadable-value", "level": "error", "file": where}
        refused = [Finding.model_validate({**words, "what": str(p)}) for p in document.problems]
    else:
        try:
            text = read_text(path, "replace")
        except OSError as error:
            raise UsageError(f"cannot read this file ({error.strerror})", where=where) from error
        if len(text) > MOST_BYTES:
            raise UsageError(f"larger than {MOST_BYTES >> 20} MiB", where=where)
        calls = _calls(text) if path.suffix == ".py" else []
        candidates = [values for values in (*calls, *_commands(text)) if _trains(values)]
    if not candidates:
        raise UsageError(
            "no command or call with training settings is in this script",
            fix="Give the YAML or JSON file, or a script with a command such as 'trl sft --...'.",
            where=where,
        )
    read_as = [configuration(where, values) for values in candidates]
    return [config._replace(problems=(*refused, *config.problems)) for config in read_as]


def _trains(values: _Values) -> bool:
    explained = max(sum(table.meanings(name) is not None for name in values)
                    for table in formats().values())  # fmt: skip
    return explained >= _LEAST_FLAGS


def _commands(text: str) -> Iterator[_Values]:
    """The flags of each command; a command goes on where a line ends with a backslash."""
    variables: dict[str, str] = {}
    values: _Values = {}
    name, words = "", list[str]()
    for number, line in enumerate((*text.splitlines(), ""), 1):
        if assigned := _ASSIGNED.match(line):
            variables[assigned[1]] = assigned[2].strip("'\"")
        goes_on = line.rstrip().endswith("\\")
        for word in _words(line.rstrip().rstrip("\\")):
            word = _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), word)
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                name = name.replace("-", "_")
                values[name] = (_scalar(value) if equals else True, number)
            elif not name:
                words.append(word)
            else:
                before, at = values[name]
                scalar = _scalar(word)
                rest = [*before, scalar] if isinstance(before, list) else [before, scalar]
                values[name] = (scalar if before is True else rest, at)
        if not goes_on:
            if values:
                yield {"command": (" ".join(words), number), **values}
            values, words, name = {}, [], ""


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that another line closes
        return line.split()


def _scalar(text: str) -> object:
    try:
        value = yamlfile.parse(text, "value").data
    except UsageError:
        return text
    return text if isinstance(value, Mapping | list) or value is None else value


def _calls(text: str) -> list[_Values]:
    """The keyword arguments of all calls whose values are written out, as one configuration."""
    try:
        tree = ast.parse(text)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    values: _Values = {}
    names = [ast.unparse(call.func)[:99] for call in calls if isinstance(call.func, _NAMED)]
    if any("lora" in name.lower() or "get_peft_model" in name for name in names):
        values["use_peft"] = (True, 1)
    values["command"] = (" ".join(name for name in names if name.endswith(_TRAINING)), 1)
    for call in calls:
        for keyword in call.keywords:
            value = _literal(keyword.value)
            if keyword.arg is not None and value is not None:
                values.setdefault(keyword.arg, (value, keyword.value.lineno))
    tables = formats().values()
    fields = (name for name in values if any(table.meanings(name) is not None for table in tables))
    return [{name: values[name] for name in fields}]


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
