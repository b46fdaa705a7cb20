"""Recognises the form of a table (its format, and the column of each role), and gives evidence.

The form must fit at least 95% of a sample of the rows. If no form does, each row is read in one of
several forms, or the form that fits most rows is taken. Formats and columns that the user names
come first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from sweeper.data.examples import SPLIT_NAMES
from sweeper.data.formats.row_format import MIN_MATCHING_SHARE, Form, RowFormat, Shape, formats
from sweeper.data.further_rows import provenance_columns
from sweeper.data.problems import listing, raise_any
from sweeper.data.table import Fields, RowTable
from sweeper.errors import DataError, Problem, near_match
from sweeper.spec import DataSpec, Task

MIN_SHARE_BY_NAME = 0.5
"""If no form reaches ``MIN_MATCHING_SHARE``, a form that the column names suggest must fit at least
this share of the rows."""

_ROLES_TO_NAME: dict[Task, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "instruction": ("prompt", "completion"),
    "code": ("prompt", "completion"),
    "domain": ("text",),
}
"""The roles for which an error asks the user to name columns."""


def detect(table: RowTable, task: Task, spec: DataSpec) -> Form:
    """The form of a table's rows.

    Raises:
        DataError: No format fits, the data suits another task, or the user's columns do not exist.
    """
    form = _detected_form(table, task, spec)
    null_words, evidence = _null_words(table, form)
    if unused := listing(_unused_columns(table, form), 12, "`{}`"):
        evidence.append(f"not used: {unused}")
    return replace(form, null_words=null_words, evidence=(*form.evidence, *evidence))


NULL_WORDS = frozenset(
    ("NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NULL", "null", "Null", "None", "-", "--")
)
"""Words for an empty cell in spreadsheets, pandas and R: most of pandas' ``na_values``, and
hyphens."""

_FILES_WITHOUT_NULL = (".csv", ".tsv", ".xlsx")
"""Files that can mark an empty cell only by a word. JSON and Parquet have null."""


def _null_words(table: RowTable, form: Form) -> tuple[dict[str, frozenset[str]], list[str]]:
    """The words that stand for an empty cell, by column, and sentences about exceptions.

    A word in more than 5% of the cells of a label or answer column counts as a value.
    """
    if table.suffix not in _FILES_WITHOUT_NULL:
        return {}, []
    null_words: dict[str, frozenset[str]] = {}
    evidence = []
    for role, column in form.columns.items():
        cells = Counter(
            cell.strip() for fields in table.sample if isinstance(cell := fields.get(column), str)
        )
        real_values = {
            word
            for word in NULL_WORDS & cells.keys()
            if role in _ANSWER_ROLES and cells[word] > (1 - MIN_MATCHING_SHARE) * len(table.sample)
        }
        null_words[column] = NULL_WORDS - real_values
        if real_values:
            evidence.append(
                f"{', '.join(map(repr, sorted(real_values)))} in `{column}` is read as a value, "
                "since many rows have it; cells with other words such as NA are empty"
            )
    return null_words, evidence


_ANSWER_ROLES = ("label", "output", "completion")
CODE_TEST_COLUMNS = {"test_setup_code", "entry_point"}
"""Columns without a role that are read together with the column of tests of code."""

INFORMATIVE_WORDS = 3
"""An unused column with at least this many words per cell on average may belong to the input."""


def _unused_columns(table: RowTable, form: Form) -> list[str]:
    """The columns that are not read at all."""
    used_columns = {name for each in (form, *form.other_forms) for name in each.columns.values()}
    used_columns |= CODE_TEST_COLUMNS | provenance_columns()
    return [name for name in table.columns if name not in used_columns]


def column_cautions(table: RowTable, form: Form) -> tuple[str, ...]:
    """Sentences about columns that no role uses: those with text, and those that name splits."""
    sample = table.sample
    text_columns: list[str] = []
    cautions: list[str] = []
    for column in _unused_columns(table, form):
        if _names_splits(fields.get(column) for fields in sample):
            cautions.append(
                f"`{column}` seems to name the split of each row. It is not read: sweeper divides "
                "the rows itself. To keep your splits, write the rows of each into a file of its "
                "own, such as folder/train.csv and folder/test.csv, and give --data folder"
            )
        cells = (cell for fields in sample if isinstance(cell := fields.get(column), str))
        if sum(len(cell.split()) for cell in cells) >= INFORMATIVE_WORDS * len(sample):
            text_columns.append(column)
    if text_columns:
        role = "text" if "text" in form.columns else "prompt"
        input_columns = {form.columns.get(part) for part in (role, "instruction", "input")}
        named_columns = {*input_columns, text_columns[0]}
        template = " ".join(f"{{{name}}}" for name in table.columns if name in named_columns)
        cautions.append(
            f"columns with text are not used: {listing(text_columns, form='`{}`')}. If an answer "
            f"depends on one, build the {role} from several columns: --column '{role}={template}'"
        )
    return tuple(cautions)


def _names_splits(cells: Iterable[object]) -> bool:
    """Whether all cells name splits, and at least two different ones."""
    splits = {SPLIT_NAMES.get(cell.strip().lower()) for cell in set(map(str, cells))}
    return None not in splits and len(splits) > 1


def _detected_form(table: RowTable, task: Task, spec: DataSpec) -> Form:
    sample, user_columns = table.sample, dict(spec.columns)
    user_format = _user_format(table, task, spec)
    if user_format is None:
        _refuse_preferences(table)
    forms = list(_matching_forms(table.columns, sample, user_columns))
    suitable = [
        form
        for form in forms
        if (form.format == user_format.name if user_format else form.suits(task))
    ]
    user_named = bool(user_columns or user_format)
    further_forms = [] if user_named else _forms_of_other_columns(suitable, table, task)
    form = next((form for form in suitable if form.share >= MIN_MATCHING_SHARE), None)
    if form is None and not user_named:
        form = _mixed_form([*suitable, *further_forms], sample)
    form = form or _majority_form(suitable, sample, task)
    if form is None:
        raise _unrecognised_error(table, task, user_format, forms)
    if user_named:
        reason = f"the format {form.format} was named by you"
        if user_columns:
            reason = f"named by you: {', '.join(user_columns.values())}"
        return replace(form, evidence=(*form.evidence, reason))
    unmatched = [row for row in sample if not form.matches(row)]
    suitable += [further for further in further_forms if any(map(further.matches, unmatched))]
    # Rows that lack the form's columns are read in another form, which needs a column of its own.
    columns = set(form.columns.values())
    other_forms = (other for other in suitable if not set(other.columns.values()) <= columns)
    return replace(form, other_forms=tuple(other_forms))


def _refuse_preferences(table: RowTable) -> None:
    """Refuse preference data, and say what to train on instead.

    Raises:
        DataError: The table holds pairs of answers, or ratings of answers or steps.
    """
    present = {column.lower(): column for column in table.columns}
    has_ratings = {"completion", "label"} <= present.keys() and all(
        isinstance(fields.get(present["label"]), bool) for fields in table.sample
    )
    if {"chosen", "rejected"} <= present.keys():
        what = "preference pairs (`chosen` and `rejected`)"
        fix = "Name the chosen answers: data.columns: {prompt: prompt, completion: chosen}, or "
        fix += "{messages: chosen}."
    elif "kto_tag" in present or has_ratings:
        what = "ratings of answers (`kto_tag`, or `completion` with a true or false `label`)"
        fix = "Keep the rows that were rated good, and drop the column of ratings."
    elif {"completions", "labels"} <= present.keys():
        what, fix = "stepwise ratings (`completions` and `labels`)", "Use data with one answer."
    else:
        return
    raise DataError(
        f"this is preference data: {what}",
        why="Every strategy here learns from one right answer a row, not from comparisons. For "
        "those there are TRL's trainers (DPOTrainer, KTOTrainer, RewardTrainer).",
        fix=fix,
        where=table.name,
        code="preference-data",
    )


def _majority_form(suitable: Sequence[Form], sample: Sequence[Fields], task: Task) -> Form | None:
    """The form that column names suggest and most rows fit; the other rows will be left out.

    None if no form fits half of the rows, or if a format's ``hint`` says that the values mean
    something else.
    """
    if any(row_format.hint(sample) for row_format in _formats_of(task)):
        return None
    eligible = [form for form in suitable if form.share >= MIN_SHARE_BY_NAME and not form.guessed]
    return max(eligible, key=lambda form: form.share, default=None)


def _mixed_form(forms: Sequence[Form], sample: Sequence[Fields]) -> Form | None:
    """The form that most rows have, of two or more forms that together fit 95% of the rows.

    None if they fit fewer, or if there is only one form.
    """
    matches = [(form, [form.matches(fields) for fields in sample]) for form in forms if form.share]
    fitting_rows = sum(map(any, zip(*(rows for _, rows in matches), strict=True)))
    if len(matches) < 2 or fitting_rows < MIN_MATCHING_SHARE * len(sample):
        return None
    main_form, main_rows = max(matches, key=lambda match: sum(match[1]))
    evidence = (
        f"the file mixes formats and is read row by row; {sum(main_rows)} of the {len(sample)} "
        f"rows looked at have the format {main_form.format}"
    )
    return replace(main_form, evidence=(evidence,))


def _forms_of_other_columns(forms: Sequence[Form], table: RowTable, task: Task) -> list[Form]:
    """Forms of columns that these forms do not use, such as `conversations` next to `messages`."""
    used_columns = {name for form in forms for name in form.columns.values()}
    unused = tuple(name for name in table.columns if name not in used_columns)
    new_forms = [
        form
        for form in _matching_forms(unused, table.sample, user_columns={})
        if form.share and not form.guessed and form.suits(task)
    ]
    if not new_forms:
        return []
    return [*new_forms, *_forms_of_other_columns([*forms, *new_forms], table, task)]


def _formats_of(task: Task) -> tuple[RowFormat, ...]:
    return tuple(row_format for row_format in formats().values() if task in row_format.tasks)


def _matching_forms(
    columns: Sequence[str], sample: Sequence[Fields], user_columns: Mapping[str, str]
) -> Iterator[Form]:
    """The forms that the names of columns suggest, then those that only their values suggest.

    Values are looked at only for formats that no names of columns suggest.
    """
    # Of columns whose names differ in case alone, the first is taken.
    present = {column.lower(): column for column in reversed(columns)}

    def form_of(row_format: RowFormat, shape: Shape) -> Form | None:
        role_columns = shape.columns(present, user_columns)
        return _matching_form(row_format, role_columns, shape, sample) if role_columns else None

    formats_without_names = []
    for row_format in formats().values():
        forms = [form for shape in row_format.shapes if (form := form_of(row_format, shape))]
        yield from forms
        if not forms:
            formats_without_names.append(row_format)
    for row_format in formats_without_names:
        shape = row_format.guessed_shape(sample, present, user_columns)
        if shape is not None and (form := form_of(row_format, shape)):
            yield form if user_columns else _guessed_form(form)


def _matching_form(
    row_format: RowFormat, columns: Mapping[str, str], shape: Shape, sample: Sequence[Fields]
) -> Form:
    """The form with these columns by role, without optional ones that have no suitable value."""
    required = {role: columns[role] for role in shape.required}
    share = sum(row_format.fits(fields, required) for fields in sample) / len(sample)
    role_columns = {
        role: column
        for role, column in columns.items()
        if role in required
        or any(fields.get(column) and row_format.accepts(role, fields[column]) for fields in sample)
    }
    roles = ", ".join(
        f"`{column}` is the {role.replace('_', ' ')}" for role, column in role_columns.items()
    )
    evidence = [f"{roles} ({share:.0%} of the {len(sample)} rows looked at fit this)"]
    if templated := row_format.templated(sample, role_columns):
        evidence.append("the text already holds chat markers, so no template is applied")
    return Form(row_format.name, role_columns, tuple(evidence), templated, share=share)


def _guessed_form(form: Form) -> Form:
    caution = (
        "their names say nothing, so this is a guess from their values: if it is wrong, say "
        f"what the columns are, with --column {next(iter(form.columns))}=COLUMN"
    )
    return replace(form, guessed=True, evidence=(*form.evidence, caution))


def _user_format(table: RowTable, task: Task, spec: DataSpec) -> RowFormat | None:
    """The format that the user named, or that the user's roles imply; None without either.

    Raises:
        DataError: There is no such format, role or column, or the task cannot be trained on it.
    """
    problems: list[Problem] = []
    present = table.columns
    roles = {role for row_format in formats().values() for role in row_format.roles}
    for role, column in spec.columns.items():
        if role not in roles:
            what, hint = f"{role!r} is not a role for a column", near_match(role, sorted(roles))
            problems.append(Problem(what, fix=hint, where="data.columns"))
        if column not in present:
            what, hint = f"there is no column {column!r} (for {role})", near_match(column, present)
            problems.append(Problem(what, fix=hint, where=table.name))
    by_name = {
        name: row_format
        for row_format in formats().values()
        for name in (row_format.name, *row_format.aliases)
    }
    if spec.format != "auto" and spec.format not in by_name:
        hint = near_match(spec.format, ["auto", *by_name])
        what = f"{spec.format!r} is not a data format"
        problems.append(Problem(what, fix=hint, where="data.format"))
    # The number of roles that the user named, of those that every shape of a format requires.
    named_role_counts = {
        row_format: len(row_format.identifying_roles & spec.columns.keys())
        for row_format in formats().values()
    }
    implied_format = max(
        named_role_counts,
        key=lambda row_format: (named_role_counts[row_format], task in row_format.tasks),
    )
    user_format = by_name.get(spec.format)
    if user_format is None and named_role_counts[implied_format]:
        user_format = implied_format
    if user_format is not None and task not in user_format.tasks:
        what = f"the format {user_format.name} was named, but {_needed_formats(task)}"
        fix = "Change the task, or the format and columns under data."
        problems.append(Problem(what, fix=fix, where=table.name))
    raise_any(problems)
    return user_format


def _needed_formats(task: Task) -> str:
    """The formats that a task needs, as the end of a sentence."""
    names = [row_format.name for row_format in _formats_of(task)]
    return f"the task {task} needs {' or '.join(names)}"


def _unrecognised_error(
    table: RowTable,
    task: Task,
    user_format: RowFormat | None,
    forms: Sequence[Form],
) -> DataError:
    """The error if no format fits: the columns, the nearest format, what to write in the spec."""
    columns = [f"`{column}` ({_type_names(table.sample, column)})" for column in table.columns]
    needed = f"{_needed_formats(task).capitalize()}."
    if user_format:
        needed = f"They do not fit the format {user_format.name}."
    hints = [row_format.hint(table.sample) for row_format in _formats_of(task)]
    why = [needed, _nearest_format(forms, task), *hints]
    roles = _ROLES_TO_NAME[task]
    return DataError(
        f"the format of the data was not recognised; its columns are {listing(columns, 12)}",
        why=" ".join(filter(None, why)),
        fix=f"Name the columns: {' '.join(f'--column {role}=COLUMN' for role in roles)}, or in "
        f"sweep.yaml under data: columns: {{{', '.join(f'{role}: COLUMN' for role in roles)}}}.",
        where=table.name,
        code="unrecognised-form",
    )


def _nearest_format(forms: Sequence[Form], task: Task) -> str:
    """A sentence about the format that fits most rows; empty if none fits half of them."""
    close = [form for form in forms if form.share >= MIN_SHARE_BY_NAME]
    best = max(close, key=lambda form: form.share, default=None)
    if best is None:
        return ""
    columns = " and ".join(f"`{column}`" for column in best.needed)
    if unsuited := formats()[best.format].unsuited(task, templated=False):
        return f"{columns} {unsuited}."
    return f"In {best.share:.0%} of the rows, {columns} fit the format {best.format}."


def _type_names(sample: Sequence[Fields], column: str) -> str:
    """The types of a column's values, in words."""
    kinds = {type(fields[column]) for fields in sample if fields.get(column) is not None}
    words = {str: "text", bool: "true/false", int: "whole number", float: "number", list: "list"}
    return " or ".join(sorted(words.get(kind, "object") for kind in kinds)) or "empty"
