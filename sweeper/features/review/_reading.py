"""Reads configurations from a file: YAML, JSON, command lines in a script, calls in Python.

A table in ``_formats/`` describes the fields of each trainer; the table that explains the most
fields tells the trainer. Nothing runs, and only variables that a script itself sets are expanded.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from sweeper import yamlfile
from sweeper.errors import UsageError
from sweeper.features.review._record import LISTS, FileValue, Finding, Training, finding_of_kind
from sweeper.spec import Scalar
from sweeper.textfiles import read_text
from sweeper.yamlfile import FileModel

_FOLDER = Path(__file__).parent / "_formats"
#: A file with none of these settings is not a training configuration.
_TRAINING_SETTINGS = {"learning_rate", "num_train_epochs", "max_steps", "r"}


class Meaning(FileModel):
    """The meaning of a field of a file.

    Args:
        to: The field of ``Training`` that it sets.
        values: Values to set, by pattern of the file's value; ``none`` sets nothing. Values that
            match no pattern are set as they are.
        folder: Whether the value is a folder whose name is that of the model.
        layers: Target modules that the value ``true`` adds.
    """

    to: str
    values: Mapping[str, str] = {}
    folder: bool = False
    layers: list[str] = Field([])


_Meanings = str | Meaning | list[Meaning]


class Format(FileModel):
    """The table of one trainer.

    Args:
        extends: Another table, whose entries this one also has.
        fields: Meanings by field or pattern, with dots between nested names.
        noted: Patterns of known fields that do not affect a review.
        required: Patterns, one of which must match a field of the file.
        defaults: The trainer's own values, for settings that a file lacks.
        full_bf16: Precision of full fine-tuning if the file has ``bf16: true``.
        setup: Further fields of ``sweeper.memory.setup.Setup``, for the memory formula.
        packing_needs: Patterns of the implementations that keep attention within packed examples.
        own_layers: Whether the trainer's layers have other names than in transformers.
        packing_masked: Whether attention always stays within a packed example.
        whole_batches: Whether an incomplete last batch of an epoch is dropped.
        evaluates_if_held_out: Whether the trainer evaluates only if the file holds out rows.
    """

    title: str
    source: str
    extends: str = ""
    fields: Mapping[str, _Meanings]
    noted: list[str] = Field([])
    required: list[str] = Field([])
    defaults: Mapping[str, Any] = {}
    full_bf16: str = "bf16-pure"
    setup: Mapping[str, Any] = {}
    packing_needs: str = ""
    own_layers: bool = False
    packing_masked: bool = False
    whole_batches: bool = False
    evaluates_if_held_out: bool = False

    def meanings(self, name: str) -> list[Meaning] | None:
        """The meanings of a field; empty if it does not affect a review, None if it is unknown."""
        matching = (to for key, to in self.fields.items() if matches(name, key))
        entry = self.fields.get(name) or next(matching, None)
        if entry is None:
            return [] if any(matches(name, pattern) for pattern in self.noted) else None
        listed = entry if isinstance(entry, list) else [entry]
        return [item if isinstance(item, Meaning) else Meaning(to=item) for item in listed]

    def field_of(self, setting: str) -> str:
        """The trainer's first name for a field of ``Training``; empty if it has none."""
        for name in self.fields:
            if any(m.to == setting and not m.layers for m in self.meanings(name) or ()):
                return name
        return ""

    def value_in_field(self, field: str, setting: str, value: Scalar) -> Scalar | None:
        """The value of a trainer's field that sets ``setting`` to ``value``; None without one."""
        meaning = next((m for m in self.meanings(field) or () if m.to == setting), None)
        if meaning is None or meaning.layers:
            return None
        text = str(value).lower() if isinstance(value, bool) else str(value)
        names = [name for name, to in meaning.values.items() if to == text]
        is_unchanged = not any(matches(text, name) for name in meaning.values)
        if is_unchanged and (isinstance(value, bool) or not names):
            return value
        literal_name = next((name for name in names if "*" not in name), None)
        return (
            {"true": True, "false": False}.get(literal_name, literal_name) if literal_name else None
        )


def matches(text: str, patterns: str) -> bool:
    """Whether a text matches one of the glob patterns that ``|`` separates; case is ignored."""
    return any(fnmatchcase(text.lower(), pattern.lower()) for pattern in patterns.split("|"))


@cache
def formats() -> dict[str, Format]:
    """The tables by name of the trainer, without those that another table extends."""
    adapter, paths = TypeAdapter(Format), sorted(_FOLDER.glob("*.yaml"))
    tables = {path.stem: adapter.validate_python(yamlfile.read(path).data) for path in paths}
    return {
        name: _extended_table(table, tables[table.extends]) if table.extends else table
        for name, table in tables.items()
        if name not in {extension.extends for extension in tables.values()}
    }


def _extended_table(table: Format, base: Format) -> Format:
    """A table together with the one that it extends; its own entries win."""
    names = ("fields", "defaults", "setup")
    merged = {name: {**getattr(base, name), **getattr(table, name)} for name in names}
    return table.model_copy(update={**merged, "noted": [*base.noted, *table.noted]})


class ReadConfiguration(NamedTuple):
    """A configuration as read from a file.

    Args:
        file_values: Values of the file by field of ``Training``, the last in the file first.
        field_lines: Line numbers by field of the file; 0 if unknown.
        unknown: Fields that the table does not explain.
        problems: Invalid values.
    """

    file: str
    format: str
    table: Format
    training: Training
    file_values: Mapping[str, tuple[FileValue, ...]]
    field_lines: Mapping[str, int]
    unknown: tuple[str, ...]
    problems: tuple[Finding, ...]


def configuration(file: str, values: Mapping[str, tuple[object, int]]) -> ReadConfiguration:
    """The configuration, read by the table that explains the most of its fields.

    Args:
        values: Values and lines by field, with dots between nested names.

    Raises:
        UsageError: No known trainer has such a file, or it trains nothing.
    """
    readings = (
        _read(file, name, table, values)
        for name, table in formats().items()
        if any(matches(field, pattern) for field in values for pattern in table.required or ["*"])
    )
    candidates = [
        reading
        for reading in readings
        if _TRAINING_SETTINGS & reading.file_values.keys() or reading.format == "peft"
    ]
    if not candidates:
        titles = ", ".join(table.title for table in formats().values())
        raise UsageError(
            "this is not a training configuration that sweeper knows",
            fix=f"Give the file with the learning rate or adapter, of one of {titles}.",
            where=file,
        )
    return min(candidates, key=lambda candidate: len(candidate.unknown))


def _read(
    file: str, name: str, table: Format, values: Mapping[str, tuple[object, int]]
) -> ReadConfiguration:
    """The configuration as read by the table of one trainer."""
    settings: dict[str, Any] = {}
    file_values: dict[str, tuple[FileValue, ...]] = {}
    problems: list[Finding] = []
    unknown = [field for field in values if table.meanings(field) is None]
    for field, (value, line) in values.items():
        for meaning in table.meanings(field) or ():
            setting = _setting_value(meaning, value, settings.get(meaning.to))
            if setting is None:
                continue
            try:
                settings[meaning.to] = _setting_type(meaning.to).validate_python(setting)
            except ValidationError as error:
                message = error.errors(include_url=False)[0]["msg"]
                placeholders = {
                    "name": field,
                    "shown": repr(value)[:60],
                    "reason": message,
                    "file": file,
                }
                position = {"fields": (field,), "line": line}
                problems.append(
                    finding_of_kind("unreadable-value", table.source, **placeholders, **position)
                )
                continue
            earlier_values = file_values.get(meaning.to, ())
            file_values[meaning.to] = (FileValue(field, line, value), *earlier_values)
    training = Training.model_validate(_with_derived_values({**table.defaults, **settings}))
    field_lines = {field: line for field, (_, line) in values.items()}
    return ReadConfiguration(
        file, name, table, training, file_values, field_lines, tuple(unknown), tuple(problems)
    )


@cache
def _setting_type(setting: str) -> TypeAdapter[Any]:
    """The type of a field of ``Training``."""
    return TypeAdapter(Training.model_fields[setting].rebuild_annotation())


def _setting_value(meaning: Meaning, value: object, earlier_value: object) -> object:
    """The value to which a field sets its setting; None if the field does not set it.

    Args:
        value: The value in the file.
        earlier_value: What earlier fields of the file set; target modules are added to it.
    """
    if isinstance(value, str) and "${" in value:  # only the trainer can resolve it
        return None
    if meaning.folder and isinstance(value, str):
        # Llama's weights are in a folder "original" inside that of the model.
        *_, folder = ("", *(part for part in Path(value).parts if part != "original"))
        return folder or None
    if meaning.layers:
        modules = earlier_value if isinstance(earlier_value, tuple) else ()
        return (*modules, *meaning.layers) if value is True else None
    if isinstance(value, list) and meaning.values:
        mapped = [to for item in value if (to := _mapped_value(meaning.values, item)) is not None]
        setting: object = mapped if meaning.to in LISTS else next(iter(mapped), None)
    else:
        setting = _mapped_value(meaning.values, value)
    if (
        meaning.to == "target_modules"
        and isinstance(earlier_value, tuple)
        and isinstance(setting, list)
    ):
        return (*earlier_value, *setting)
    return setting


def _mapped_value(values: Mapping[str, str], value: object) -> object:
    """The value of a setting by ``Meaning.values``; None if it is not set."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    mapped = next((to for pattern, to in values.items() if matches(str(text), pattern)), None)
    return value if mapped is None else None if mapped == "none" else mapped


def _with_derived_values(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, with ``qlora`` and ``max_steps`` if others imply them."""
    four_bits = settings.get("load_in_4bit") or str(settings.get("quantization")).startswith("nf4")
    if settings.get("method") == "lora" and four_bits:
        settings["method"] = "qlora"
    if steps := settings.get("steps_per_epoch"):
        settings["max_steps"] = round(steps * (settings.get("num_train_epochs") or 1))
    return settings


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The values of a nested mapping with their paths; a list is one value."""
    if isinstance(value, Mapping) and (value or not path):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value


#: Limit on the characters of a script.
MAX_CHARACTERS = 2**20
#: A command or a call is a training if a table explains at least this many of its flags.
_MIN_KNOWN_FLAGS = 3
# In a script: the assignment of a variable, and its use.
_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)=(\S+)\s*$")
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")

# In Python: nodes that name the function of a call, and ends of names of training classes.
_NAME_NODES, _TRAINING_SUFFIXES = (ast.Name, ast.Attribute), ("Config", "Trainer", "Arguments")

# Value and line by field.
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
        if len(text) > MAX_CHARACTERS:
            raise UsageError(f"longer than {MAX_CHARACTERS:,} characters", where=where)
        calls = _calls(text) if path.suffix == ".py" else []
        candidates = [values for values in (*calls, *_commands(text)) if _is_training(values)]
    if not candidates:
        raise UsageError(
            "this script has no command or call with training settings",
            fix="Give the YAML or JSON file, or a script with a command such as 'trl sft --...'.",
            where=where,
        )
    configurations = [configuration(where, values) for values in candidates]
    return [config._replace(problems=(*problems, *config.problems)) for config in configurations]


def _is_training(values: _ValuesByName) -> bool:
    """Whether a table explains enough of these fields."""
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
            if word.startswith("--"):  # ``--flag=value``, or ``--flag`` and values in further words
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
    """The words of a shell's line, without comments."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # the quote ends on another line
        return line.split()


def _scalar(text: str) -> object:
    """The value of a flag, read as YAML if that gives a single value."""
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
    """The value of a literal; None if the expression is not one."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
