"""What the fields of each trainer mean: one table in ``_formats/`` each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from sweeper import yamlfile
from sweeper.errors import UsageError
from sweeper.features.review._record import LISTS, Finding, Given, Training, worded
from sweeper.spec import Scalar
from sweeper.yamlfile import FileModel

_FOLDER = Path(__file__).parent / "_formats"
#: A file that sets none of these trains nothing.
_TRAINS = {"learning_rate", "num_train_epochs", "max_steps", "r"}


class Meaning(FileModel):
    """What one field of a file says.

    Args:
        to: The field of ``Training``.
        values: From patterns of values to what they mean; ``none`` for nothing. A value that no
            pattern matches means itself.
        folder: The value is a folder that is named after the model.
        layers: Layers that true adds to the target modules.
    """

    to: str
    values: Mapping[str, str] = {}
    folder: bool = False
    layers: list[str] = Field([])


_Meanings = str | Meaning | list[Meaning]


class Format(FileModel):
    """The table of one trainer.

    Args:
        extends: Another table, whose fields and defaults this one adds to.
        fields: From names, with dots between nested ones, to their meaning.
        noted: Patterns of fields on which nothing depends that a review says.
        required: Patterns of which one must match a field of the file.
        defaults: The trainer's own values where a file has none.
        full_bf16: How full fine-tuning holds its weights where the file says bf16.
        setup: Further fields of the memory formula's set-up.
        packing_needs: Patterns of attention implementations that keep packed examples apart.
        own_layers: Layers have names of the trainer's own, not those of transformers.
        packing_masked: Packed examples are always kept apart.
        whole_batches: An epoch ends with its last whole batch.
        evaluates_if_held_out: Nothing is evaluated where no rows are held out, whatever is asked.
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
        """What a field says; empty where nothing depends on it, None where it is unknown."""
        patterns = (to for key, to in self.fields.items() if matches(name, key))
        entry = self.fields.get(name) or next(patterns, None)
        if entry is None:
            return [] if any(matches(name, pattern) for pattern in self.noted) else None
        listed = entry if isinstance(entry, list) else [entry]
        return [item if isinstance(item, Meaning) else Meaning(to=item) for item in listed]

    def field_of(self, neutral: str) -> str:
        """The trainer's first name for a field of ``Training``; empty if it has none."""
        for name in self.fields:
            if any(m.to == neutral and not m.layers for m in self.meanings(name) or ()):
                return name
        return ""

    def written(self, field: str, neutral: str, value: Scalar) -> Scalar | None:
        """How the trainer writes a value in one of its fields; None if no value means that."""
        meaning = next((m for m in self.meanings(field) or () if m.to == neutral), None)
        if meaning is None or meaning.layers:
            return None
        text = str(value).lower() if isinstance(value, bool) else str(value)
        names = [name for name, to in meaning.values.items() if to == text]
        itself = not any(matches(text, name) for name in meaning.values)
        if itself and (isinstance(value, bool) or not names):
            return value
        plain = next((name for name in names if "*" not in name), None)
        return {"true": True, "false": False}.get(plain, plain) if plain else None


def matches(text: str, patterns: str) -> bool:
    """Whether a text matches one of some patterns with ``*``, which have ``|`` between them."""
    return any(fnmatchcase(text.lower(), pattern.lower()) for pattern in patterns.split("|"))


@cache
def formats() -> dict[str, Format]:
    """Every trainer by its name; the table that others extend is none."""
    kind, paths = TypeAdapter(Format), sorted(_FOLDER.glob("*.yaml"))
    tables = {path.stem: kind.validate_python(yamlfile.read(path).data) for path in paths}
    return {
        name: _extended(table, tables[table.extends]) if table.extends else table
        for name, table in tables.items()
        if name not in {extension.extends for extension in tables.values()}
    }


def _extended(table: Format, base: Format) -> Format:
    names = ("fields", "defaults", "setup")
    merged = {name: {**getattr(base, name), **getattr(table, name)} for name in names}
    return table.model_copy(update={**merged, "noted": [*base.noted, *table.noted]})


class ReadConfiguration(NamedTuple):
    """One configuration as it was read.

    Args:
        given: By the fields of ``Training``: what the file says, the last field first.
        names: The fields of the file, with their lines.
        unknown: Those that the table does not explain.
        problems: Values that cannot be what they should be.
    """

    file: str
    format: str
    table: Format
    training: Training
    given: Mapping[str, tuple[Given, ...]]
    names: Mapping[str, int]
    unknown: tuple[str, ...]
    problems: tuple[Finding, ...]


def configuration(file: str, values: Mapping[str, tuple[object, int]]) -> ReadConfiguration:
    """A configuration by the table that explains the most of its fields.

    Args:
        values: From the fields of the file, with dots between nested names, to values and lines.

    Raises:
        UsageError: No trainer that is known has such a file, or it trains nothing.
    """
    read = (
        _read(file, name, table, values)
        for name, table in formats().items()
        if any(matches(field, pattern) for field in values for pattern in table.required or ["*"])
    )
    candidates = [made for made in read if _TRAINS & made.given.keys() or made.format == "peft"]
    if not candidates:
        titles = ", ".join(table.title for table in formats().values())
        raise UsageError(
            "this is no training configuration that sweeper knows",
            fix=f"Give the file with the learning rate or adapter, of one of {titles}.",
            where=file,
        )
    return min(candidates, key=lambda candidate: len(candidate.unknown))


def _read(
    file: str, name: str, table: Format, values: Mapping[str, tuple[object, int]]
) -> ReadConfiguration:
    raw: dict[str, Any] = {}
    given: dict[str, tuple[Given, ...]] = {}
    problems: list[Finding] = []
    unknown = [field for field in values if table.meanings(field) is None]
    for field, (value, line) in values.items():
        for meaning in table.meanings(field) or ():
            meant = _meant(meaning, value, raw.get(meaning.to))
            if meant is None:
                continue
            try:
                raw[meaning.to] = _kind(meaning.to).validate_python(meant)
            except ValidationError as error:
                message = error.errors(include_url=False)[0]["msg"]
                words = {"name": field, "shown": repr(value)[:60], "reason": message, "file": file}
                where = {"fields": (field,), "line": line}
                problems.append(worded("unreadable-value", table.source, **words, **where))
                continue
            given[meaning.to] = (Given(field, line, value), *given.get(meaning.to, ()))
    training = Training.model_validate(_settled({**table.defaults, **raw}))
    return ReadConfiguration(
        file, name, table, training, given, {name: line for name, (_, line) in values.items()},
        tuple(unknown), tuple(problems),
    )  # fmt: skip


@cache
def _kind(neutral: str) -> TypeAdapter[Any]:
    return TypeAdapter(Training.model_fields[neutral].rebuild_annotation())


def _meant(meaning: Meaning, value: object, before: object) -> object:
    """What a value says about a field; None for nothing."""
    if isinstance(value, str) and "${" in value:  # known to the trainer alone
        return None
    if meaning.folder and isinstance(value, str):
        *_, folder = ("", *(part for part in Path(value).parts if part != "original"))
        return folder or None
    if meaning.layers:
        modules = before if isinstance(before, tuple) else ()
        return (*modules, *meaning.layers) if value is True else None
    if isinstance(value, list) and meaning.values:
        kept = [to for item in value if (to := _mapped(meaning.values, item)) is not None]
        meant: object = kept if meaning.to in LISTS else next(iter(kept), None)
    else:
        meant = _mapped(meaning.values, value)
    if meaning.to == "target_modules" and isinstance(before, tuple) and isinstance(meant, list):
        return (*before, *meant)
    return meant


def _mapped(values: Mapping[str, str], value: object) -> object:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else value
    meant = next((to for pattern, to in values.items() if matches(str(text), pattern)), None)
    return value if meant is None else None if meant == "none" else meant


def _settled(raw: dict[str, Any]) -> dict[str, Any]:
    """The values with what follows from several of them."""
    four_bits = raw.get("load_in_4bit") or str(raw.get("quantization")).startswith("nf4")
    if raw.get("method") == "lora" and four_bits:
        raw["method"] = "qlora"
    if raw.get("steps_per_epoch"):
        raw["max_steps"] = round(raw["steps_per_epoch"] * (raw.get("num_train_epochs") or 1))
    return raw


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The values of a nested mapping with their paths; a list is one value."""
    if isinstance(value, Mapping) and (value or not path):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    else:
        yield path, value
