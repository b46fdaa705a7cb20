"""Predicts every row of a file, in JSON lines.

Writes a row as soon as it is predicted, so that the same request continues where it stopped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from sweeper.backend import ProgressReporter
from sweeper.child_process import tell_progress
from sweeper.data.contents import limited_by_memory
from sweeper.data.examples import Example
from sweeper.data.formats.row_format import Form, formats
from sweeper.data.formats.turns import turns_of
from sweeper.data.problems import listing
from sweeper.data.reading.read import read
from sweeper.data.rows import with_templates
from sweeper.data.table import Fields, RowTable
from sweeper.errors import DataError, UsageError
from sweeper.features.prediction._steps import PredictedRow, PredictionRequest
from sweeper.textfiles import json_object
from sweeper.use.trained_model import Model, Prediction, load


def predict(request: PredictionRequest) -> None:
    """Predict every row that the partial file does not hold yet.

    Raises:
        UsageError: The model or the rows cannot be used, or the partial file is of another request.
    """
    model = load(request.weights)
    examples = _examples(model, request)
    part = Path(request.part)
    header = {"of": _digest(request, model, examples)}
    predicted_rows = _rows_in(part, header)
    missing = [row for row in range(len(examples)) if row not in predicted_rows]
    progress = ProgressReporter(tell_progress).steps("predicting")
    ready_count = len(examples) - len(missing)
    with part.open("a", encoding="utf-8") as file:
        if file.tell() == 0:
            file.write(json.dumps(header) + "\n")
        progress(ready_count, len(examples))
        for indexes, predictions in model.batches(
            [examples[row] for row in missing],
            batch_size=request.batch_size,
            max_new_tokens=request.max_new_tokens,
        ):
            rows = zip(indexes, predictions, strict=True)
            file.writelines(_line(missing[index], prediction) for index, prediction in rows)
            file.flush()
            ready_count += len(indexes)
            progress(ready_count, len(examples))


def _examples(model: Model, request: PredictionRequest) -> list[Example]:
    if request.text is not None:
        if not request.text.strip():
            raise UsageError("the text is empty", fix="Give a text, or a file with --data.")
        return [model.example(request.text)]
    assert request.data is not None
    return inputs(read(Path(request.data)), model.record.data_format, model.record.columns)


def _digest(request: PredictionRequest, model: Model, examples: list[Example]) -> str:
    """A digest of rows, model and settings."""
    sha = hashlib.sha256(model.record.to_json().encode())
    sha.update(f"{request.max_new_tokens}\n".encode())
    for example in examples:
        sha.update(f"{example.content_hash()}\n".encode())
    return sha.hexdigest()


def _rows_in(part: Path, header: dict[str, str]) -> set[int]:
    """Indexes of the rows in a partial file, from which an incomplete last line is removed."""
    if not part.is_file():
        return set()
    complete_lines = [
        line for line in part.read_text(encoding="utf-8").splitlines(True) if line[-1] == "\n"
    ]
    try:
        lines = [json_object(line) for line in complete_lines]
        indexes = {int(line["row"]) - 1 for line in lines[1:]}
    except (ValueError, KeyError, TypeError):
        lines, indexes = [{}], set()
    if lines and lines[0] != header:
        raise UsageError(
            "the unfinished output is of another model, other rows or other settings",
            fix="Delete it, or name another --output.",
            where=str(part),
        )
    part.write_text("".join(complete_lines), encoding="utf-8")
    return indexes


def _line(row: int, prediction: Prediction) -> str:
    classes = None if prediction.label is None else prediction.probabilities
    line = PredictedRow(
        row=row + 1, label=prediction.label, probabilities=classes, text=prediction.text
    )
    return json.dumps(line.model_dump(exclude_none=True), ensure_ascii=False) + "\n"


# Placeholder for the answer, which only training rows have.
_ANSWER = "?"
_ANSWER_ROLES = ("label", "output", "completion")
# Usual names of columns with questions, besides those of the formats.
_QUESTION_COLUMNS = ("instruction", "prompt", "question", "query", "input")


def inputs(table: RowTable, data_format: str, columns: Mapping[str, str]) -> list[Example]:
    """One example for each row, in order.

    Args:
        data_format: Format of the data that the model was trained on.
        columns: Column by role in that data. If the table lacks them, usual names are tried.

    Raises:
        DataError: No column holds the input, or rows have no input.
    """
    table = with_templates(table, {r: c for r, c in columns.items() if r not in _ANSWER_ROLES})
    form = _form(table, data_format, columns)
    examples: list[Example] = []
    rows_without_input: list[str] = []
    for line, fields in limited_by_memory(table.rows, table.name):
        row = form.example_or_reason(line, _with_answer(fields, form), table.label_names)
        if isinstance(row, Example):
            examples.append(row)
        else:
            rows_without_input.append(f"line {line}: {row}")
    if rows_without_input:
        raise DataError(
            f"{len(rows_without_input)} of {len(table.rows)} rows have no input",
            why=listing(rows_without_input, 4),
            fix="Repair or remove these rows.",
            where=table.name,
            code="no-input",
        )
    return examples


def _form(table: RowTable, data_format: str, columns: Mapping[str, str]) -> Form:
    """The form of the training data if the table has its input columns, or else a usual one.

    Columns of answers get names that no table has.
    """
    input_columns = {role: name for role, name in columns.items() if role not in _ANSWER_ROLES}
    answer_columns = {role: f"\0{role}" for role in columns if role in _ANSWER_ROLES}
    table_columns = table.columns
    if input_columns and set(input_columns.values()) <= set(table_columns):
        return Form(data_format, {**input_columns, **answer_columns}, evidence=())
    if data_format not in ("text-label", "text"):
        for name in table_columns:
            if name.lower() in _usual_names("messages"):
                return Form("messages", {"messages": name}, evidence=())
    column = _column(table, data_format)
    if data_format == "text":
        return Form("text", {"text": column}, evidence=())
    if data_format == "text-label":
        return Form("text-label", {"text": column, "label": "\0label"}, evidence=())
    prompt_columns = {"prompt": column, "completion": "\0completion"}
    return Form("prompt-completion", prompt_columns, evidence=())


def _column(table: RowTable, data_format: str) -> str:
    """The column of the input: one with a usual name, or the only column."""
    question_names = (*_QUESTION_COLUMNS, *_usual_names("text-label"))
    usual_names = (
        _usual_names(data_format) if data_format in ("text", "text-label") else question_names
    )
    by_name = {name.lower(): name for name in reversed(table.columns)}
    for name in usual_names:
        if name in by_name:
            return by_name[name]
    if len(table.columns) == 1:
        return table.columns[0]
    raise DataError(
        "no column holds the input",
        why=f"There are {listing(table.columns, form='`{}`')}.",
        fix=f"Name it {listing(usual_names, 3, '`{}`')}, "
        "or as in the data that the model was trained on.",
        where=table.name,
    )


def _usual_names(data_format: str) -> tuple[str, ...]:
    """Usual names of the input column, the preferred one first."""
    return next(iter(formats()[data_format].shapes[-1].required.values()))


def _with_answer(fields: Fields, form: Form) -> Fields:
    """The row with the placeholder for its answer."""
    answer_fields: dict[str, object] = {
        name: _ANSWER for role, name in form.columns.items() if role in _ANSWER_ROLES
    }
    if form.format == "messages":
        column = form.columns["messages"]
        turns = turns_of(fields.get(column))
        if turns and (turns[-1].get("role") or turns[-1].get("from")) not in ("assistant", "gpt"):
            answer_turn = {"role": "assistant", "content": _ANSWER}
            if "from" in turns[-1]:
                answer_turn = {"from": "gpt", "value": _ANSWER}
            answer_fields[column] = [*turns, answer_turn]
    return {**fields, **answer_fields}
