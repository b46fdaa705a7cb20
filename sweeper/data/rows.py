"""The rows of a data set as files hold them, with the examples that they become."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from pathlib import Path
from typing import Self

from sweeper.data.contents import limited_by_memory
from sweeper.data.detect_columns import column_cautions, detect
from sweeper.data.examples import Example, Split
from sweeper.data.formats.row_format import (
    EMPTY_ROW,
    Form,
    parsed_cell,
    text_of,
)
from sweeper.data.formats.text_label import MAX_CLASS_CHARACTERS
from sweeper.data.further_rows import with_marks
from sweeper.data.problems import flags_of, listing, raise_any
from sweeper.data.progress_lines import with_progress
from sweeper.data.reading.files import split_files
from sweeper.data.reading.layout import SplitFiles
from sweeper.data.reading.read import read
from sweeper.data.table import Fields, LazySequence, NumberedRow, RowTable, concatenate
from sweeper.errors import DataError, Problem, near_match
from sweeper.spec import DataSpec, Task

_PLACEHOLDER = re.compile(r"\{([^{}\n]+)\}")


def placeholders(column: str) -> list[str]:
    """The columns that a template names; empty for a plain column name.

    >>> placeholders("{code} {input}"), placeholders("code")
    (['code', 'input'], [])
    """
    return _PLACEHOLDER.findall(column)


def with_templates(table: RowTable, columns: Mapping[str, str]) -> RowTable:
    """The table with a filled column for each template among ``columns``.

    Columns that only templates use are removed.

    Args:
        columns: From a role to a column, or to a template such as ``{title} {body}``.

    Raises:
        DataError: A template names a column that does not exist.
    """
    present = table.columns
    templates = [
        column for column in columns.values() if column not in present and placeholders(column)
    ]
    if not templates:
        return table
    raise_any(
        [
            Problem(
                f"there is no column {name!r} for the template {template!r}",
                fix=near_match(name, present),
                where=table.name,
            )
            for template in templates
            for name in placeholders(template)
            if name not in present and name.partition(".")[0] not in present
        ]
    )
    names = dict.fromkeys(name for template in templates for name in placeholders(template))
    removed = {name if name in present else name.partition(".")[0] for name in names}
    removed -= set(columns.values())

    def row_at(index: int) -> NumberedRow:
        line, fields = table.rows[index]
        texts = {template: fill_template(fields, template) for template in templates}
        return line, {name: cell for name, cell in fields.items() if name not in removed} | texts

    rows = LazySequence(len(table.rows), row_at)
    new_columns = dict.fromkeys([*(name for name in present if name not in removed), *templates])
    cautions = [*table.cautions, *_empty_cell_cautions(table, names)]
    return replace(table, rows=rows, cautions=cautions, known_columns=new_columns)


def fill_template(fields: Fields, template: str) -> str:
    """The template filled with a row's cells; empty if all cells that it names are empty."""
    cell_texts = {name: text_of(_cell(fields, name)) for name in placeholders(template)}
    if not any(text.strip() for text in cell_texts.values()):
        return ""
    return _PLACEHOLDER.sub(lambda match: cell_texts[match[1]], template).strip()


def _cell(fields: Fields, name: str) -> object:
    """A cell; for ``column.key``, the value under the key in a cell that holds an object."""
    column, _, key = name.partition(".")
    if name in fields or not key:
        return fields.get(name)
    parsed = parsed_cell(fields.get(column))
    return parsed.get(key) if isinstance(parsed, Mapping) else None


def _empty_cell_cautions(table: RowTable, names: Iterable[str]) -> list[str]:
    cautions = []
    for name in names:
        lines = [n for n, fields in table.rows if not text_of(_cell(fields, name)).strip()]
        if lines:
            cautions.append(
                f"`{name}`, which a template uses, is empty in {len(lines):,} of "
                f"{len(table.rows):,} rows (line {listing(lines, 3)})"
            )
    return cautions


LabelNames = Mapping[str, tuple[str, ...]]
"""From a column to the names of its integer classes."""

_GUESSED_TASKS: tuple[Task, ...] = ("classification", "instruction", "domain")
"""The tasks that are tried if none is given and the rows are not code, in this order."""


@dataclass(slots=True)
class FileRow:
    """One row of one file. Not frozen, which would take three times as long for every row.

    Args:
        split: The split of the file.
        line: Number of the line, or of the row if the file has no lines.
        fields: The cells; empty if the row cannot be read.
        example: The example that the row becomes, or None.
        reason: The reason why there is no example.
        readable: Whether the row could be read.
        raw: The beginning of the text in the file, if the row could not be read.
    """

    path: str
    split: Split
    line: int
    fields: Fields
    example: Example | None
    reason: str = ""
    readable: bool = True
    raw: str = ""

    @property
    def empty(self) -> bool:
        """Whether the row has no text or no answer."""
        return self.readable and self.example is None and self.reason == EMPTY_ROW

    @property
    def input(self) -> str:
        """The input of the model; empty without an example."""
        return self.example.input if self.example else ""

    @property
    def written(self) -> str:
        """The answer that the model learns to write; empty for a class and for plain text."""
        return self.example.answer if self.example and self.example.messages else ""

    @property
    def label(self) -> str:
        """The class of the row; empty without one."""
        return (self.example and self.example.label) or ""


@dataclass(frozen=True)
class DataRows:
    """All rows of a data set.

    Args:
        rows: Rows in the order of the files; large ones stay on the disk.
        forms: From a file to the form of its rows.
        evidence: Sentences on how the files were read.
        cautions: Sentences on what the user should check.
        official: The splits that have files of their own, ``train`` first.
        columns: All columns of the files.
        label_names: From a column to the names of its integer classes.
        flags: The flags with which ``sweeper data`` reads the rows in the same way.
    """

    name: str
    task: Task
    rows: Sequence[FileRow]
    forms: Mapping[str, Form]
    evidence: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    official: tuple[Split, ...] = ()
    columns: tuple[str, ...] = ()
    label_names: LabelNames = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def form(self) -> Form:
        """The form of the rows of train."""
        return next(iter(self.forms.values()))

    @cached_property
    def usable(self) -> Sequence[tuple[int, FileRow, Example]]:
        """Index, row and example of every row that can be trained on."""
        return [
            (index, row, row.example)
            for index, row in enumerate(limited_by_memory(self.rows, self.name))
            if row.example is not None
        ]

    def with_rows(self, rows: Sequence[FileRow]) -> Self:
        return replace(self, rows=tuple(rows))

    def with_fields(self, row: FileRow, fields: Fields) -> FileRow:
        """The row with other cells."""
        return _file_row(
            row.path, row.split, row.line, fields, self.forms[row.path], self.label_names
        )


def _file_row(
    path: str, split: Split, line: int, fields: Fields, form: Form, label_names: LabelNames
) -> FileRow:
    row_form = form.of(fields)
    texts = {
        column: fill_template(fields, column)
        for column in row_form.columns.values()
        if column not in fields and placeholders(column)
    }
    filled_fields = {**fields, **texts} if texts else fields
    result = row_form.example_or_reason(line, filled_fields, label_names)
    if isinstance(result, Example):
        return FileRow(path, split, line, fields, with_marks(result, fields))
    return FileRow(path, split, line, fields, example=None, reason=result)


def read_rows(spec: DataSpec, task: Task | None, source: SplitFiles | None = None) -> DataRows:
    """All rows of the files of a spec.

    Args:
        task: The task; None to guess it from the rows.
        source: The files; None for those of the spec.

    Raises:
        DataError: A file cannot be read, or its rows are not recognised.
    """
    source = source or split_files(spec)
    files = {split: [(p, read(p)) for p in paths] for split, paths in source.files.items()}
    tables = {
        split: with_templates(
            reduce(RowTable.concatenate, [table for _, table in parts]), spec.columns
        )
        for split, parts in files.items()
    }
    flags = flags_of(spec, task)
    task, form = (
        (task, detect(tables["train"], task, spec)) if task else _guess_task(tables["train"], spec)
    )
    rows: list[Sequence[FileRow]] = []
    forms: dict[str, Form] = {}
    label_names: dict[str, tuple[str, ...]] = {}
    evidence = list(source.evidence)
    cautions: list[str] = []
    for split, table in tables.items():
        split_form = form if split == "train" else _form_of_split(table, form, task, spec)
        evidence += [*table.how, *split_form.evidence]
        if split_form.columns != form.columns:
            columns = listing(split_form.columns.values(), form="`{}`")
            evidence.append(f"{split} has other columns: {columns}")
        cautions += _cautions(table, split_form, split)
        label_names |= table.label_names
        forms |= {str(path): split_form for path, _ in files[split]}
        rows += [_rows_of_file(part, path, split, split_form) for path, part in files[split]]
    if len(files) > 1:
        official = [path.name for parts in files.values() for path, _ in parts]
        evidence.append(f"official splits: {listing(official)}")
    file_tables = [table for parts in files.values() for _, table in parts]
    return DataRows(
        name=str(spec.path),
        task=task,
        rows=concatenate(rows),
        forms=forms,
        evidence=tuple(dict.fromkeys(evidence)),
        cautions=tuple(dict.fromkeys(cautions)),
        official=tuple(files),
        columns=tuple(dict.fromkeys(c for table in file_tables for c in table.columns)),
        label_names=label_names,
        flags=flags,
    )


def _form_of_split(table: RowTable, form: Form, task: Task, spec: DataSpec) -> Form:
    """Train's form if the table has its columns, or the form that is detected in the table.

    A column of train may have its name in the plural here: several accepted answers, not one.

    Raises:
        DataError: The table's rows are not recognised, or only one of the two forms has classes.
    """
    present = table.columns
    columns = {
        role: plural if column not in present and (plural := f"{column}s") in present else column
        for role, column in form.columns.items()
    }
    if set(columns.values()) <= set(present):
        return replace(form, columns=columns)
    detected = detect(table, task, spec.model_copy(update={"columns": {}}))
    if detected.format != form.format and "text-label" in (detected.format, form.format):
        raise DataError(
            f"this split has the format {detected.format}, but train has {form.format}",
            fix="Give all splits the same columns.",
            where=table.name,
        )
    return detected


def _cautions(table: RowTable, form: Form, split: Split) -> tuple[str, ...]:
    """Cautions for the user: how the file was read, rows of other forms, unused columns."""
    cautions = [*table.cautions]
    lines_by_form: dict[str, list[int]] = {}
    for line, fields in table.rows if form.other_forms else ():
        if (row_form := form.of(fields)) is not form:
            columns = listing(row_form.columns.values(), form="`{}`")
            lines_by_form.setdefault(f"{row_form.format} ({columns})", []).append(line)
    for name, lines in lines_by_form.items():
        cautions.append(
            f"{len(lines):,} of {len(table.rows):,} rows of {split} have another format, {name}, "
            f"and are read as such (line {listing(lines, 3)})"
        )
    return (*cautions, *column_cautions(table, form))


def _rows_of_file(table: RowTable, path: Path, split: Split, form: Form) -> Sequence[FileRow]:
    """The rows in the order of their lines. Unreadable ones come last in a large file."""

    def file_row(numbered_row: NumberedRow) -> FileRow:
        return _file_row(str(path), split, *numbered_row, form, table.label_names)

    broken = tuple(
        FileRow(str(path), split, row.line, {}, None, row.reason, readable=False, raw=row.text)
        for row in table.broken
    )
    rows = table.rows
    if isinstance(rows, LazySequence):
        readable = LazySequence(
            len(rows), lambda index: file_row(rows[index]), lambda: map(file_row, rows)
        )
        return concatenate((readable, broken))
    rows_with_progress = with_progress(rows, f"reading examples of {table.name}", len(rows))
    return tuple(sorted((*map(file_row, rows_with_progress), *broken), key=lambda row: row.line))


def _guess_task(table: RowTable, spec: DataSpec) -> tuple[Task, Form]:
    """The task of the rows, and their form: code if they have programs or tests of them.

    Of the other tasks, the first whose form has columns with known names; if none has, the first
    that fits.

    Raises:
        DataError: No task fits.
    """
    with suppress(DataError):
        code_form = detect(table, "code", spec)
        if not code_form.guessed and _has_programs(table, code_form):
            return "code", code_form
    matches: list[tuple[Task, Form]] = []
    refusals: list[DataError] = []
    for task in _GUESSED_TASKS:
        try:
            matches.append((task, detect(table, task, spec)))
        except DataError as error:
            refusals.append(error)
            continue
        form = matches[-1][1]
        if not form.guessed and (task != "classification" or _has_classes(table, form)):
            return matches[-1]
    if not matches:
        raise refusals[0]
    return matches[0]


_CODE_COLUMNS = ("code", "canonical_solution")


def _has_programs(table: RowTable, form: Form) -> bool:
    """Whether most rows have tests or, in a code column, a long answer or one of several lines."""
    tests, answer = form.columns.get("tests", ""), form.columns.get("completion", "")
    rows = table.sample
    rows_with_tests = sum("assert" in text_of(fields.get(tests)) for fields in rows)
    answers = [text_of(fields.get(answer)) for fields in rows if answer in _CODE_COLUMNS]
    programs = sum("\n" in text.strip() or len(text) > MAX_CLASS_CHARACTERS for text in answers)
    return max(rows_with_tests, programs) > len(rows) / 2


LABEL_SAMPLE_ROWS = 100_000
"""Labels are counted in at most this many rows: ten for each of ``labels.MAX_CLASSES`` classes."""


def _has_classes(table: RowTable, form: Form) -> bool:
    """Whether the label column (which may be `target`) holds classes and not texts.

    Classes have at least two rows on average.
    """
    labels = [
        str(fields.get(form.columns["label"])) for fields in table.spread_rows(LABEL_SAMPLE_ROWS)
    ]
    return len(set(labels)) <= len(labels) / 2
