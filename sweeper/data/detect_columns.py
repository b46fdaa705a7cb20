"""Recognises the roles of a table's columns, and gives the evidence.

A form should hold in at least 95% of the rows looked at. Where none does, several forms are read
row by row, or the form of most rows is taken. What the user states wins.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from sweeper.data.examples import SPLIT_NAMES
from sweeper.data.formats.row_format import AGREEMENT, RowFormat, Shape, formats, trainable
from sweeper.data.further_rows import marking_columns
from sweeper.data.problems import listing, raise_any
from sweeper.data.reading.read import data_suffix
from sweeper.data.table import Fields, RowTable
from sweeper.errors import DataError, Problem, near_match
from sweeper.spec import DataSpec, Task

SAMPLE_ROWS = 500
"""Rows that are looked at, evenly spread; the practice of loaders is about a hundred."""

MOST = 0.5
"""Share of the rows from which on a format with the usual names of columns is taken, if none has
``AGREEMENT``: what half of the rows do not have is not the form of the data."""

_NEEDS: dict[Task, str] = {
    "classification": "a text and a label",
    "instruction": "an instruction or prompt with its answer, or a conversation",
    "code": "a prompt with its code, or a conversation",
    "domain": "a text, an instruction or prompt with its answer, or a conversation",
}
_ROLES: dict[Task, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "instruction": ("prompt", "completion"),
    "code": ("prompt", "completion"),
    "domain": ("text",),
}


@dataclass(frozen=True)
class Form:
    """The roles of columns.

    Args:
        columns: Role to column.
        evidence: In words, why.
        templated: The text already holds chat markers.
        guessed: The names of the columns say nothing; their values were looked at.
        others: Forms of rows that lack these columns, where a file mixes formats.
        gaps: Words such as NA in cells of a column, which stand for nothing.
        share: Of the rows looked at, those that have the columns with values of their kinds.
    """

    format: str
    columns: dict[str, str]
    evidence: tuple[str, ...]
    templated: bool = False
    guessed: bool = False
    others: tuple[Form, ...] = ()
    gaps: Mapping[str, frozenset[str]] = field(default_factory=dict)
    share: float = 1.0

    def of(self, fields: Fields) -> Form:
        """The form of one row: this one, unless the row lacks its columns and has another's."""
        if not self.others or all(fields.get(name) is not None for name in self.needed):
            return self
        return next((form for form in self.others if form.has(fields)), self)

    def has(self, fields: Fields) -> bool:
        """Whether a row has a value of the right kind in every column that it must have."""
        row_format = formats()[self.format]
        return any(
            roles <= self.columns.keys()
            and all(
                fields.get(self.columns[role]) not in (None, "")
                and row_format.accepts(role, fields[self.columns[role]])
                for role in roles
            )
            for roles in (set(shape.required) for shape in row_format.shapes)
        )

    def suits(self, task: Task) -> bool:
        """Whether the task can be trained on such rows."""
        row_format = formats()[self.format]
        return task in row_format.tasks and not row_format.unsuited(task, self.templated)

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns that a row must have."""
        shapes = [list(shape.required) for shape in formats()[self.format].shapes]
        roles = next((roles for roles in shapes if self.columns.keys() >= {*roles}), [])
        return tuple(self.columns[role] for role in roles)


def detect(table: RowTable, task: Task, spec: DataSpec) -> Form:
    """The form of a table's rows.

    Raises:
        DataError: No format fits, the data suits another task, or the user's columns do not exist.
    """
    sample = list(table.sample(SAMPLE_ROWS))
    form = _detected(table, task, spec, sample)
    gaps, evidence = _null_words(table, form, sample)
    return replace(
        form, gaps=gaps, evidence=(*form.evidence, *evidence, *_unused(table, form, sample))
    )


NULL_WORDS = frozenset(
    ("NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NULL", "null", "Null", "None", "-", "--")
)
"""What spreadsheets, pandas and R write for nothing: most of pandas' ``na_values``, and hyphens."""

_CELLS = (".csv", ".tsv", ".xlsx")
"""Files whose cells have no other way to say nothing. JSON and Parquet have null."""


def _null_words(
    table: RowTable, form: Form, sample: Sequence[Fields]
) -> tuple[dict[str, frozenset[str]], list[str]]:
    """The words that stand for nothing in each column that is read, and what is said of them.

    A word that more rows have than may lack a form is a class or an answer, not a gap.
    """
    if data_suffix(Path(table.name)) not in _CELLS:
        return {}, []
    gaps: dict[str, frozenset[str]] = {}
    evidence = []
    for role, column in form.columns.items():
        cells = Counter(
            cell.strip() for fields in sample if isinstance(cell := fields.get(column), str)
        )
        meant = {
            word
            for word in NULL_WORDS & cells.keys()
            if role in _ANSWERS and cells[word] > (1 - AGREEMENT) * len(sample)
        }
        gaps[column] = NULL_WORDS - meant
        if meant:
            evidence.append(
                f"{', '.join(map(repr, sorted(meant)))} in `{column}` is used as a value, since "
                "many rows have it; cells with other words such as NA are empty"
            )
    return gaps, evidence


_ANSWERS = ("label", "output", "completion")
_NUMBERING = re.compile(r"(unnamed: ?\d+|index|idx|id|uid|guid|row|.*_id)", re.IGNORECASE)
_BESIDE = {"test_setup_code", "entry_point"}
"""Read beside the columns of roles: what tests of code need."""

INFORMATIVE_WORDS = 3
"""Words of a cell, on average, from which on an unused column may hold part of the question."""


def _free(table: RowTable, form: Form, sample: Sequence[Fields]) -> tuple[list[str], list[str]]:
    """The columns that play no role: those that number the rows, and the others."""
    used = {name for variant in (form, *form.others) for name in variant.columns.values()}
    used |= _BESIDE | marking_columns()
    left = [name for name in table.columns if name not in used]
    numbering = [n for n in left if _NUMBERING.fullmatch(n) or _counts(sample, n)]
    return numbering, [name for name in left if name not in numbering]


def _unused(table: RowTable, form: Form, sample: Sequence[Fields]) -> list[str]:
    numbering, rest = ([f"`{n}`" for n in part] for part in _free(table, form, sample))
    evidence = [f"not used: {listing(rest, 12)}"] if rest else []
    if numbering:
        evidence.append(f"not used, since they name rows: {listing(numbering)}")
    return evidence


def unused_columns(table: RowTable, form: Form) -> tuple[str, ...]:
    """Sentences about columns that no role uses: those with text, and those that name splits."""
    sample = list(table.sample(SAMPLE_ROWS))
    left: list[str] = []
    cautions: list[str] = []
    for column in _free(table, form, sample)[1]:
        if _names_splits(fields.get(column) for fields in sample):
            cautions.append(
                f"`{column}` seems to name the split of each row. It is not read: sweeper divides "
                "the rows itself. To keep your splits, write the rows of each into a file of its "
                "own, such as folder/train.csv and folder/test.csv, and give --data folder"
            )
        cells = (cell for fields in sample if isinstance(cell := fields.get(column), str))
        if sum(len(cell.split()) for cell in cells) >= INFORMATIVE_WORDS * len(sample):
            left.append(column)
    if not left:
        return tuple(cautions)
    role = "text" if "text" in form.columns else "prompt"
    asked = {form.columns.get(part) for part in (role, "instruction", "input")}
    named = [name for name in table.columns if name in (*asked, left[0])]
    template = " ".join(f"{{{name}}}" for name in named)
    names = listing([f"`{name}`" for name in left])
    return (
        *cautions,
        f"columns with text are not used: {names}. If an answer depends on "
        f"one, build the {role} from several columns: --column '{role}={template}'",
    )


def _names_splits(cells: Iterable[object]) -> bool:
    """Whether all cells are names of splits, of two splits at least."""
    named = {SPLIT_NAMES.get(cell.strip().lower()) for cell in set(map(str, cells))}
    return None not in named and len(named) > 1


def _counts(sample: Sequence[Fields], column: str) -> bool:
    """Whether whole numbers rise from row to row."""
    cells = [str(fields.get(column)) for fields in sample]
    if len(cells) < 3 or not all(cell.isdecimal() for cell in cells):
        return False
    return all(int(cell) < int(following) for cell, following in pairwise(cells))


def _detected(table: RowTable, task: Task, spec: DataSpec, sample: Sequence[Fields]) -> Form:
    fixed = stated_columns(table, spec)
    stated = stated_format(spec, fixed, task, table.name)
    if stated is None:
        for row_format in formats().values():
            row_format.refuse(table, sample)
    seen = list(_matches(table.columns, sample, fixed))
    right = [form for form in seen if (form.format == stated.name if stated else form.suits(task))]
    named = bool(fixed or stated)
    further = [] if named else _of_other_columns(right, table, sample, task)
    full = next((form for form in right if form.share >= AGREEMENT), None)
    mixed = None if full or named else _mixed([*right, *further], sample)
    form = full or mixed or _of_most(right, sample, task)
    if form is None:
        raise _unrecognised(table, sample, task, stated, seen)
    if not named:
        needed = set(form.columns.values())
        adding = (o for o in further if any(o.has(row) and not form.has(row) for row in sample))
        others = (o for o in (*right, *adding) if not set(o.columns.values()) <= needed)
        return replace(form, others=tuple(others))
    reason = f"the format {form.format} was named by you"
    if fixed:
        reason = f"named by you: {', '.join(fixed.values())}"
    return replace(form, evidence=(*form.evidence, reason))


def _of_most(right: Sequence[Form], sample: Sequence[Fields], task: Task) -> Form | None:
    """The format that most rows have, by the names of its columns. The other rows are left out.

    None where the values say what keeps the rows from the format: all of them have another meaning.
    """
    if any(row_format.hint(sample) for row_format in _formats_of(task)):
        return None
    most = [form for form in right if form.share >= MOST and not form.guessed]
    return max(most, key=lambda form: form.share, default=None)


def _mixed(forms: Sequence[Form], sample: Sequence[Fields]) -> Form | None:
    """The commonest of several forms that have most of the rows between them, or None.

    One form that most rows have is not enough: what the others are is then unknown.
    """
    having = [[form.has(fields) for fields in sample] for form in forms if form.share]
    if len(having) < 2 or sum(map(any, zip(*having, strict=True))) < AGREEMENT * len(sample):
        return None
    full = [sum(rows) for rows in having]
    main = [form for form in forms if form.share][full.index(max(full))]
    share = f"{max(full)} of the {len(sample)} rows looked at"
    evidence = (
        f"the file mixes formats and is read row by row; {share} have the format {main.format}"
    )
    return replace(main, evidence=(evidence,))


def _of_other_columns(
    forms: Sequence[Form], table: RowTable, sample: Sequence[Fields], task: Task
) -> list[Form]:
    """The forms of columns that these do not use, such as `conversations` beside `messages`."""
    used = {name for form in forms for name in form.columns.values()}
    left = tuple(name for name in table.columns if name not in used)
    others = [
        form
        for form in _matches(left, sample, {})
        if form.share and not form.guessed and form.suits(task)
    ]
    return [*others, *_of_other_columns([*forms, *others], table, sample, task)] if others else []


def _formats_of(task: Task) -> tuple[RowFormat, ...]:
    return tuple(row_format for row_format in trainable().values() if task in row_format.tasks)


def _matches(
    columns: Sequence[str], sample: Sequence[Fields], fixed: Mapping[str, str]
) -> Iterator[Form]:
    """By the names of columns, then by values for the formats that have no columns of their own."""
    present = {column.lower(): column for column in reversed(columns)}
    nameless = []
    for row_format in trainable().values():
        matches = [
            form
            for shape in row_format.shapes
            if (form := _match(row_format, shape, sample, present, fixed))
        ]
        yield from matches
        if not matches:
            nameless.append(row_format)
    for row_format in nameless:
        shape = row_format.guessed(sample, present, fixed)
        if shape is not None and (form := _match(row_format, shape, sample, present, fixed)):
            yield form if fixed else _as_guess(form)


def _match(
    row_format: RowFormat,
    shape: Shape,
    sample: Sequence[Fields],
    present: Mapping[str, str],
    fixed: Mapping[str, str],
) -> Form | None:
    """The form in which a table has this shape, or None where it lacks columns."""
    columns = shape.columns(present, fixed)
    if not columns or not set(fixed) <= set(columns):
        return None
    required = {role: columns[role] for role in shape.required}
    share = sum(row_format.fits(fields, required) for fields in sample) / len(sample)
    kept = {
        role: column
        for role, column in columns.items()
        if role in required or _is_used(row_format, role, column, sample)
    }
    roles = ", ".join(
        f"`{column}` is the {role.replace('_', ' ')}" for role, column in kept.items()
    )
    evidence = [f"{roles} ({share:.0%} of the {len(sample)} rows looked at fit this)"]
    templated = row_format.templated(sample, kept)
    if templated:
        evidence.append("the text already holds chat markers, so no template is applied")
    return Form(row_format.name, kept, tuple(evidence), templated, share=share)


def _as_guess(form: Form) -> Form:
    caution = (
        "their names say nothing, so this is a guess from their values: if it is wrong, say "
        f"what the columns are, with --column {next(iter(form.columns))}=COLUMN"
    )
    return replace(form, guessed=True, evidence=(*form.evidence, caution))


def _is_used(row_format: RowFormat, role: str, column: str, sample: Sequence[Fields]) -> bool:
    """Whether some row has a value that the role can take."""
    return any(fields.get(column) and row_format.accepts(role, fields[column]) for fields in sample)


def stated_columns(table: RowTable, spec: DataSpec) -> dict[str, str]:
    """The user's map of roles to columns, checked against the table.

    Raises:
        DataError: A role or a column does not exist.
    """
    problems: list[Problem] = []
    present = table.columns
    roles = {role for row_format in formats().values() for role in row_format.roles}
    for role, column in spec.columns.items():
        if role not in roles:
            what, near = f"{role!r} is not a role for a column", near_match(role, sorted(roles))
            problems.append(Problem(what, fix=near, where="data.columns"))
        if column not in present:
            what, near = f"there is no column {column!r} (for {role})", near_match(column, present)
            problems.append(Problem(what, fix=near, where=table.name))
    raise_any(problems)
    return dict(spec.columns)


def stated_format(
    spec: DataSpec, fixed: Mapping[str, str], task: Task, where: str
) -> RowFormat | None:
    """The format that the user stated, by name or through the roles of the columns.

    Raises:
        DataError: There is no format of that name, or the task cannot be trained on it.
    """
    problems: list[Problem] = []
    named = {
        name: row_format
        for row_format in trainable().values()
        for name in (row_format.name, *row_format.also)
    }
    if spec.format != "auto" and spec.format not in named:
        near = near_match(spec.format, ["auto", *named])
        what = f"{spec.format!r} is not a data format"
        problems.append(Problem(what, fix=near, where="data.format"))
    stated = named.get(spec.format) or _format_of_roles(fixed, task)
    if stated is not None and task not in stated.tasks:
        needed = " or ".join(row_format.name for row_format in _formats_of(task))
        what = f"{stated.name} data was named, but the task {task} needs {needed}"
        fix = "Change the task, or format and columns under data."
        problems.append(Problem(what, fix=fix, where=where))
    raise_any(problems)
    return stated


def _format_of_roles(fixed: Mapping[str, str], task: Task) -> RowFormat | None:
    """The format with most of the roles, for the task if several have as many."""
    stating = [
        row_format for row_format in trainable().values() if row_format.stating_roles & fixed.keys()
    ]
    return max(
        stating,
        key=lambda row_format: (
            len(row_format.stating_roles & fixed.keys()),
            task in row_format.tasks,
        ),
        default=None,
    )


def _unrecognised(
    table: RowTable,
    sample: Sequence[Fields],
    task: Task,
    stated: RowFormat | None,
    seen: Sequence[Form],
) -> DataError:
    """Why no format fits: the columns, the nearest format, and what to write in the spec."""
    columns = [f"`{column}` ({_kind(sample, column)})" for column in table.columns]
    wanted = (stated,) if stated else _formats_of(task)
    why = [f"The task {task} needs {_NEEDS[task]}."] if not stated else []
    why += [
        _nearest(seen, wanted, task),
        *(row_format.hint(sample) for row_format in _formats_of(task)),
    ]
    roles = _ROLES[task]
    return DataError(
        f"the form of the data was not recognised; its columns are {listing(columns, 12)}",
        why=" ".join(filter(None, why)) or f"They do not have the form {wanted[0].name}.",
        fix=f"Name the columns: {' '.join(f'--column {role}=COLUMN' for role in roles)}, or in "
        f"sweep.yaml under data: columns: {{{', '.join(f'{role}: COLUMN' for role in roles)}}}.",
        where=table.name,
        code="unrecognised-form",
    )


def _nearest(seen: Sequence[Form], wanted: Sequence[RowFormat], task: Task) -> str:
    best = max(
        (form for form in seen if form.share >= 0.5), key=lambda form: form.share, default=None
    )
    if best is None:
        return ""
    columns = " and ".join(f"`{column}`" for column in best.needed)
    row_format = formats()[best.format]
    if row_format not in wanted:
        return f"It looks like {best.format} data ({columns}), which suits another task."
    if unsuited := row_format.unsuited(task, templated=False):
        return f"{columns} {unsuited}."
    return f"Only {best.share:.0%} of the rows have {columns} as {best.format} data has them."


def _kind(sample: Sequence[Fields], column: str) -> str:
    kinds = {type(fields[column]) for fields in sample if fields.get(column) is not None}
    words = {str: "text", bool: "true/false", int: "whole number", float: "number", list: "list"}
    return " or ".join(sorted(words.get(kind, "object") for kind in kinds)) or "empty"
