"""The interface of a row format, and the discovery of all formats.

A format says how rows become examples. It has one or more shapes: sets of columns by which it is
recognised. The form of a table is its format, with the table's column for each role.

Column names are those of the loaders of Axolotl, LLaMA-Factory, TRL, torchtune and litgpt, and of
MBPP, HumanEval and OpenOrca.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import ClassVar

import sweeper.data.formats as folder
from sweeper.data.contents import without_surrogates
from sweeper.data.examples import Example
from sweeper.data.table import Fields
from sweeper.packages import named_classes
from sweeper.spec import Task
from sweeper.textfiles import json_value

MIN_MATCHING_SHARE = 0.95
"""A table has a format if at least this share of its sampled rows matches, as in other loaders."""

ColumnNames = Mapping[str, tuple[str, ...]]
"""From a role to the names that its column may have: lower case, earlier ones win."""

RoleChecks = Mapping[str, Callable[[object], bool]]
"""From a role to a function that says whether a value can play it."""


class UnusableRow(ValueError):
    """Raised for a row that cannot become an example; the message is the reason."""


EMPTY_ROW = "it is empty"
"""The reason of ``EmptyRow``."""


class EmptyRow(UnusableRow):
    """A row without input or without answer."""

    def __init__(self) -> None:
        super().__init__(EMPTY_ROW)


@dataclass(frozen=True)
class Shape:
    """One set of columns that a format may have: roles, with the names of their columns."""

    required: ColumnNames
    optional: ColumnNames = field(default_factory=dict)

    def columns(
        self, present: Mapping[str, str], user_columns: Mapping[str, str]
    ) -> dict[str, str]:
        """The column of each role; empty if a required role, or one that the user named, has none.

        Args:
            present: The table's columns, by their names in lower case.
            user_columns: Columns that the user named, by role.
        """
        columns: dict[str, str] = {}
        for role, candidates in {**self.required, **self.optional}.items():
            column = user_columns.get(role) or next(
                (present[name] for name in candidates if name in present), None
            )
            if column is not None and column not in columns.values():
                columns[role] = column
            elif role in self.required:
                return {}
        return columns if user_columns.keys() <= columns.keys() else {}


class RowFormat:
    """One format of rows. A subclass sets the attributes and writes ``example``.

    Attributes:
        name: The name in specs, artifacts and reports.
        order: Position among the formats, which are tried in turn; the first that fits is taken.
            So a question with a context is an instruction rather than a prompt, and no prompt is
            taken for plain text.
        tasks: Tasks that can be trained on it.
        columns: A description of its columns, for the docs.
        shapes: The sets of columns that it may have, in the order in which they are tried.
        aliases: Names of the format in other tools.
        value_checks: The checks of the values of roles; a role without one takes text.
    """

    name: str
    order: int
    tasks: tuple[Task, ...]
    columns: str
    shapes: tuple[Shape, ...] = ()
    aliases: tuple[str, ...] = ()
    value_checks: ClassVar[RoleChecks] = {}

    def example(self, row: RawRow) -> Example:
        """One row as an example.

        Raises:
            EmptyRow: The row has no input or no answer.
            UnusableRow: A cell holds a value of the wrong kind.
        """
        raise NotImplementedError

    def accepts(self, role: str, value: object) -> bool:
        """Whether a column with this value can play the role."""
        return self.value_checks.get(role, is_text)(value)

    def fits(self, fields: Fields, required: Mapping[str, str]) -> bool:
        """Whether one row has every required column, with a value of the right type or null."""
        return all(
            column in fields and (fields[column] is None or self.accepts(role, fields[column]))
            for role, column in required.items()
        )

    def guessed_shape(
        self, sample: Sequence[Fields], present: Mapping[str, str], user_columns: Mapping[str, str]
    ) -> Shape | None:
        """A shape that the values suggest if no column names match, or None.

        Args:
            present: The table's columns, the last one first, by their names in lower case.
            user_columns: Columns that the user named, by role.
        """
        return None

    def templated(self, sample: Sequence[Fields], columns: Mapping[str, str]) -> bool:
        """Whether the rows already hold chat markers.

        Args:
            columns: The column of each role.
        """
        return False

    def unsuited(self, task: Task, templated: bool) -> str:
        """Why a task of ``tasks`` cannot be trained on such rows; empty if it can."""
        return ""

    def hint(self, sample: Sequence[Fields]) -> str:
        """Why rows that resemble this format do not have it; empty if none resemble it."""
        return ""

    @property
    def roles(self) -> tuple[str, ...]:
        return tuple(
            dict.fromkeys(
                role for shape in self.shapes for role in (*shape.required, *shape.optional)
            )
        )

    @property
    def identifying_roles(self) -> set[str]:
        """Roles that every shape requires: a user who names one of them states the format."""
        return set.intersection(*(set(shape.required) for shape in self.shapes))

    @property
    def column_names(self) -> set[str]:
        """The names that columns of this format may have."""
        return {
            name
            for shape in self.shapes
            for names in (*shape.required.values(), *shape.optional.values())
            for name in names
        }


@dataclass(frozen=True)
class Form:
    """The format of a table, with the column of each role.

    Args:
        format: Name of the format.
        columns: From a role to its column.
        evidence: Sentences on how the form was recognised.
        templated: Whether the text already holds chat markers.
        guessed: Whether the roles follow from values, as no column has a known name.
        other_forms: Forms of rows that lack these columns, if a file mixes formats.
        null_words: Words such as NA that stand for an empty cell, by column.
        share: The share of the sample whose required columns hold the right types or null.
    """

    format: str
    columns: dict[str, str]
    evidence: tuple[str, ...] = ()
    templated: bool = False
    guessed: bool = False
    other_forms: tuple[Form, ...] = ()
    null_words: Mapping[str, frozenset[str]] = field(default_factory=dict)
    share: float = 1.0

    def of(self, fields: Fields) -> Form:
        """The form of one row: this one or, if the row lacks its columns, another that fits."""
        if not self.other_forms or all(fields.get(name) is not None for name in self.needed):
            return self
        return next((form for form in self.other_forms if form.matches(fields)), self)

    def matches(self, fields: Fields) -> bool:
        """Whether a row has a value of the right kind in every column that it must have.

        Unlike in ``RowFormat.fits``, none of these cells may be empty.
        """
        row_format = formats()[self.format]
        return any(
            all(
                fields.get(self.columns[role]) not in (None, "")
                and row_format.accepts(role, fields[self.columns[role]])
                for role in roles
            )
            for roles in self._required_roles()
        )

    def suits(self, task: Task) -> bool:
        """Whether the task can be trained on rows of this form."""
        row_format = formats()[self.format]
        return task in row_format.tasks and not row_format.unsuited(task, self.templated)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that a row must have."""
        return tuple(self.columns[role] for role in next(self._required_roles(), ()))

    def _required_roles(self) -> Iterator[Iterable[str]]:
        """The required roles of each shape whose required columns are among the form's."""
        all_roles = (shape.required.keys() for shape in formats()[self.format].shapes)
        return (roles for roles in all_roles if roles <= self.columns.keys())

    def example_or_reason(
        self, line: int, fields: Fields, label_names: Mapping[str, tuple[str, ...]]
    ) -> Example | str:
        """The example of one row, or why there is none.

        Args:
            label_names: From a column to the names of its integer classes.
        """
        class_names = label_names.get(self.columns.get("label", ""), ())
        try:
            return formats()[self.format].example(RawRow(self, line, fields, class_names))
        except UnusableRow as reason:
            return str(reason)


@dataclass(slots=True)
class RawRow:
    """One row of a file, whose cells are looked up by role. Not frozen, for speed.

    Args:
        label_names: The names of the integer classes in the label column.
    """

    form: Form
    line: int
    fields: Fields
    label_names: tuple[str, ...] = ()

    def value(self, role: str) -> object:
        """The value in the file; None if no column has the role or the cell holds a null word."""
        column = self.form.columns.get(role)
        if column is None:
            return None
        value = self.fields.get(column)
        null_words = self.form.null_words.get(column)
        if null_words and isinstance(value, str) and value.strip() in null_words:
            return None
        return value

    def text(self, role: str) -> str:
        """The text of a role, which may be empty."""
        value = self.value(role)
        return "" if value is None else without_surrogates(text_of(value))

    def valid_value(self, role: str) -> object:
        """The value of a role, which may be None.

        Raises:
            UnusableRow: The role does not accept the value.
        """
        value = self.value(role)
        if value is not None and not formats()[self.form.format].accepts(role, value):
            raise UnusableRow(f"`{self.form.columns[role]}` holds {type(value).__name__}")
        return value

    def required(self, role: str) -> str:
        """The text of a role.

        Raises:
            EmptyRow: The text is empty or white space.
            UnusableRow: The role does not accept the value.
        """
        return required_text(self.valid_value(role))


def required_text(value: object) -> str:
    """The text of a cell that must have one.

    Raises:
        EmptyRow: The text is empty or white space.
    """
    text = without_surrogates(text_of(value))
    if not text or text.isspace():
        raise EmptyRow
    return text


def is_text(value: object) -> bool:
    """Whether a value is a string or a list of strings (paragraphs or accepted answers)."""
    if isinstance(value, str):
        return True
    return isinstance(value, list) and bool(value) and all(isinstance(part, str) for part in value)


def text_of(value: object) -> str:
    """The text of a cell: lists of paragraphs are joined, None is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n\n".join(text_of(part) for part in value)
    return str(value)


def parsed_cell(value: object) -> object:
    """The list or object that a text holds, as JSON or as Python prints it; other cells unchanged.

    >>> parsed_cell('["a"]'), parsed_cell("{'text': ['a']}"), parsed_cell("[sic] he said")
    (['a'], {'text': ['a']}, '[sic] he said')
    """
    if not isinstance(value, str) or value.strip()[:1] not in ("[", "{"):
        return value
    for read in (json_value, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(value.strip())
    return value


@cache
def formats() -> dict[str, RowFormat]:
    """All formats by name, in their order."""
    classes = named_classes(folder, RowFormat)
    return {kind.name: kind() for kind in sorted(classes, key=lambda kind: kind.order)}


@cache
def known_names() -> frozenset[str]:
    """The column names of all formats: a first line that holds one of them is a header.

    Includes the names of two kinds of columns that no format has: row ids, and the answers of
    preference data, which is refused.
    """
    return frozenset(
        {"id", "chosen", "rejected"}.union(
            *(row_format.column_names for row_format in formats().values())
        )
    )
