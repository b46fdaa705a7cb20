"""Reads configurations from a file: YAML, JSON, command lines in a script, calls in Python.

Nothing runs, and only variables that the script itself sets are expanded.
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
from sweeper.textfiles import read_text

#: Limit on the characters of a script.
MAX_BYTES = 2**20
#: Flags that a table must explain for a command to count as a training.
_MIN_KNOWN_FLAGS = 3
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(\S+)\s*$")
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")

_NAME_NODES, _TRAINING_SUFFIXES = (ast.Name, ast.Attribute), ("Config", "Trainer", "Arguments")

_ValuesByName = dict[str, tuple[object, int]]


def read(path: Path) -> list[ReadConfiguration]:
    """The configurations of a file: one, or one for each training command of a script.

    Raises:
        UsageError: It cannot be read, or has no known training settings.
    """
    where, problems = str(path), list[Finding]()
    candidates: list[_ValuesByName]
    if path.suffix in (".yaml", ".yml", ".json"):
        document = yamlfile.read(path)
        if not isinstance(document.data, dict):
            raise UsageError("this file does not hold keys and values", where=where)
        values = leaves(document.data)
        candidates = [
            {
                ".".join(map(str, keys)): (value, document.lines.get(keys, 0))
                for keys, value in values
            }
        ]
        fields = {"kind": "unreadable-value", "level": "error", "file": where}
        problems = [Finding.model_validate({**fields, "what": str(p)}) for p in document.problems]
    else:
        try:
            text = read_text(path, "replace")
        except OSError as error:
            raise UsageError(f"cannot read this file ({error.strerror})", where=where) from error
        if len(text) > MAX_BYTES:
            raise UsageError(f"larger than {MAX_BYTES >> 20} MiB", where=where)
        calls = _calls(text) if path.suffix == ".py" else []
        candidates = [values for values in (*calls, *_commands(text)) if _is_training(values)]
    if not candidates:
        raise UsageError(
            "no command or call with training settings is in this script",
            fix="Give the YAML or JSON file, or a script with a command such as 'trl sft --...'.",
            where=where,
        )
    configurations = [configuration(where, values) for values in candidates]
    return [config._replace(problems=(*problems, *config.problems)) for config in configurations]


def _is_training(values: _ValuesByName) -> bool:
    known_flags = max(sum(table.meanings(name) is not None for name in values)
                    for table in formats().values())  # fmt: skip
    return known_flags >= _MIN_KNOWN_FLAGS


def _commands(text: str) -> Iterator[_ValuesByName]:
    """The flags of each command, with their lines; ``command`` holds the words before the flags."""
    variables: dict[str, str] = {}
    values: _ValuesByName = {}
    name, words = "", list[str]()
    for number, line in enumerate((*text.splitlines(), ""), 1):
        if assignment := _ASSIGNMENT.match(line):
            variables[assignment[1]] = assignment[2].strip("'\"")
        continues = line.rstrip().endswith("\\")
        for word in _words(line.rstrip().rstrip("\\")):
            word = _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), word)
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                name = name.replace("-", "_")
                values[name] = (_scalar(value) if equals else True, number)
            elif not name:
                words.append(word)
            else:
                earlier_value, first_line = values[name]
                scalar = _scalar(word)
                scalars = (
                    [*earlier_value, scalar]
                    if isinstance(earlier_value, list)
                    else [earlier_value, scalar]
                )
                values[name] = (scalar if earlier_value is True else scalars, first_line)
        if not continues:
            if values:
                yield {"command": (" ".join(words), number), **values}
            values, words, name = {}, [], ""


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # the quote ends on another line
        return line.split()


def _scalar(text: str) -> object:
    try:
        value = yamlfile.parse(text, "value").data
    except UsageError:
        return text
    return text if isinstance(value, Mapping | list) or value is None else value


def _calls(text: str) -> list[_ValuesByName]:
    """The literal keyword arguments of all calls, as one configuration."""
    try:
        tree = ast.parse(text)
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    values: _ValuesByName = {}
    names = [ast.unparse(call.func)[:99] for call in calls if isinstance(call.func, _NAME_NODES)]
    if any("lora" in name.lower() or "get_peft_model" in name for name in names):
        values["use_peft"] = (True, 1)
    values["command"] = (" ".join(name for name in names if name.endswith(_TRAINING_SUFFIXES)), 1)
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
