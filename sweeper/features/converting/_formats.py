"""Writes examples as rows of another format, and refuses those that the format cannot hold."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from sweeper.data.detect_columns import CODE_TEST_COLUMNS, NULL_WORDS
from sweeper.data.examples import Example, Message
from sweeper.data.formats.row_format import known_names
from sweeper.data.formats.text_label import class_name
from sweeper.data.problems import listing
from sweeper.data.rows import DataRows, FileRow, placeholders
from sweeper.data.tools import for_template
from sweeper.errors import DataError

Row = dict[str, object]


class Unfit(ValueError):
    """Raised for an example that a format cannot hold; the message is the reason."""


def _turns(example: Example) -> list[Message]:
    """The messages of a conversation, or a text and its class as question and answer.

    Raises:
        Unfit: The example is a plain text.
    """
    if example.messages:
        return list(example.messages)
    if example.label is None:
        raise Unfit("a plain text has no answer")
    return [Message("user", example.text), Message("assistant", example.label)]


def _tests_field(example: Example) -> Row:
    """The cell with the tests of code; no cell if there are none."""
    return {"test_list": list(example.tests)} if example.tests else {}


def _require_one_answer(example: Example) -> Example:
    if len(example.references) > 1:
        raise Unfit("several accepted answers")
    return example


def _messages(example: Example) -> Row:
    messages = _turns(_require_one_answer(example))
    turns, tools = for_template(messages)
    trained = [message.trained for message in messages if message.role == "assistant"]
    answers = (turn for turn in turns if turn["role"] == "assistant")
    for turn, weight in zip(answers, trained, strict=True):
        turn.update({} if weight else {"weight": 0})
        for call in turn.get("tool_calls", ()):
            function = call["function"]
            function["arguments"] = json.dumps(function["arguments"], ensure_ascii=False)
    return {"messages": turns, **({"tools": tools} if tools else {}), **_tests_field(example)}


_SPEAKERS = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
"""ShareGPT's names of roles."""


def _trained_turns(example: Example) -> list[Message]:
    """The turns of an example whose answers are all trained on.

    Raises:
        Unfit: An answer has the weight 0.
    """
    turns = _turns(example)
    if not all(turn.trained for turn in turns):
        raise Unfit("answers of weight 0")
    return turns


def _sharegpt(example: Example) -> Row:
    turns, tools = for_template(_trained_turns(_require_one_answer(example)))
    conversation = []
    for turn in turns:
        if calls := turn.get("tool_calls"):
            if turn["content"]:
                raise Unfit("text together with a tool call")
            value = json.dumps([call["function"] for call in calls], ensure_ascii=False)
            conversation.append({"from": "function_call", "value": value})
        else:
            conversation.append({"from": _SPEAKERS[turn["role"]], "value": turn["content"]})
    tools_field = {"tools": json.dumps(tools, ensure_ascii=False)} if tools else {}
    return {"conversations": conversation, **tools_field, **_tests_field(example)}


def _pairs(example: Example) -> tuple[str, list[tuple[str, str]]]:
    """The system prompt (empty if there is none), and each question with its answer."""
    turns = _trained_turns(example)
    if any(turn.more or turn.role == "tool" for turn in turns):
        raise Unfit("tool calls")
    system = turns.pop(0).content if turns[0].role == "system" else ""
    questions, answers = turns[::2], turns[1::2]
    return system, [(q.content, a.content) for q, a in zip(questions, answers, strict=True)]


def _prompt_completion(example: Example) -> Row:
    system, pairs = _pairs(example)
    if len(pairs) > 1:
        raise Unfit("several turns")
    ((prompt, answer),) = pairs
    several_answers = len(example.references) > 1
    completion: object = list(example.references) if several_answers else answer
    system_field = {"system": system} if system else {}
    return {**system_field, "prompt": prompt, "completion": completion, **_tests_field(example)}


def _alpaca(example: Example) -> Row:
    system, pairs = _pairs(_require_one_answer(example))
    (question, answer), history = pairs[-1], [list(pair) for pair in pairs[:-1]]
    row: Row = {"instruction": question, "input": "", "output": answer}
    optional_fields = {"system": system, "history": history, **_tests_field(example)}
    return row | {name: value for name, value in optional_fields.items() if value}


def _text_label(example: Example) -> Row:
    if example.label is not None:
        return {"text": example.text, "label": example.label}
    system, pairs = _pairs(_require_one_answer(example))
    if system or len(pairs) > 1 or example.tests:
        raise Unfit("more than one text and one answer")
    ((text, label),) = pairs
    return {"text": text, "label": label}


def _text(example: Example) -> Row:
    if example.messages or example.label is not None:
        raise Unfit("a question with an answer, which a plain text would join")
    return {"text": example.text}


TARGETS: Mapping[str, Callable[[Example], Row]] = {
    "messages": _messages,
    "prompt-completion": _prompt_completion,
    "alpaca": _alpaca,
    "sharegpt": _sharegpt,
    "text-label": _text_label,
    "text": _text,
}
"""From the name of a format to the function that writes an example in it, or raises ``Unfit``."""


@dataclass(frozen=True)
class Conversion:
    """The rows to write; each pass reads them again.

    Args:
        data: The original rows.
        to: The format; None to write the same cells in another kind of file.
        suffix: Suffix of the new file.
        carried: Columns without a role that are also written.
        dropped: Columns that are not written, since they would be read as part of the new format.
    """

    data: DataRows
    to: str | None
    suffix: str
    carried: tuple[str, ...]
    dropped: tuple[str, ...]

    def rows(self, split: str) -> Iterator[Row]:
        """The rows of one split, as they are written."""
        for row in self.data.rows:
            if row.split != split or not row.readable:
                continue
            if self.to is None:
                yield own_cells(row, self.data)
            elif row.example is not None:
                yield self.cells_in_format(self.to, row, row.example)

    def cells_in_format(self, to: str, row: FileRow, example: Example) -> Row:
        """The cells of a row with this example in a format.

        Raises:
            Unfit: The format, or the kind of file, cannot hold the row.
        """
        cells = TARGETS[to](example)
        if self.suffix == ".parquet" and isinstance(cells.get("tools"), list):
            cells["tools"] = json.dumps(cells["tools"], ensure_ascii=False)
        if self.suffix in (".csv", ".tsv"):
            if isinstance(cells.get("completion"), list):
                raise Unfit("several accepted answers, which a cell cannot hold")
            if any(isinstance(cell, str) and cell.strip() in NULL_WORDS for cell in cells.values()):
                raise Unfit("a word such as NA, which would be read as an empty cell")
        return cells | {name: row.fields[name] for name in self.carried if name in row.fields}

    @property
    def left_out(self) -> dict[str, list[int]]:
        """Line numbers of the rows that are not written, by reason."""
        lines: dict[str, list[int]] = {}
        for row in self.data.rows:
            if not row.readable or (self.to is not None and row.example is None):
                lines.setdefault(row.reason, []).append(row.line)
        return lines


def own_cells(row: FileRow, data: DataRows) -> Row:
    """The cells of a row as in its file, but with the names of integer classes."""
    names = data.label_names
    return {
        name: class_name(cell, names[name]) if name in names and cell is not None else cell
        for name, cell in row.fields.items()
    }


def conversion(data: DataRows, to: str | None, suffix: str) -> Conversion:
    """The conversion of a data set to a format, after a check of every row.

    Args:
        to: The format; None to write the same cells in another kind of file.
        suffix: Suffix of the new file.

    Raises:
        DataError: The format cannot hold some rows; their number and a format that can are named.
    """
    forms = [each for form in data.forms.values() for each in (form, *form.other_forms)]
    used_columns = {column for form in forms for column in form.columns.values()}
    used_columns |= {
        name.partition(".")[0] for column in used_columns for name in placeholders(column)
    }
    used_columns |= CODE_TEST_COLUMNS
    unused_columns = [name for name in data.columns if name not in used_columns]
    carried = tuple(name for name in unused_columns if name.lower() not in known_names() - {"id"})
    dropped = tuple(name for name in unused_columns if name not in carried) if to else ()
    result = Conversion(data, to, suffix, carried, dropped)
    if to is not None:
        _check_all_fit(result, to)
    return result


def _check_all_fit(result: Conversion, to: str) -> None:
    """Check that the format can hold each row with an example.

    Raises:
        DataError: It cannot.
    """
    reasons_by_format: dict[str, Counter[str]] = {name: Counter() for name in TARGETS}
    first_lines: dict[str, int] = {}
    usable = 0
    for row in result.data.rows:
        if row.example is None:
            continue
        usable += 1
        for name, reasons in reasons_by_format.items():
            try:
                result.cells_in_format(name, row, row.example)
            except Unfit as reason:
                reasons[str(reason)] += 1
                if name == to:
                    first_lines.setdefault(str(reason), row.line)
    if not reasons_by_format[to]:
        return
    why = [
        f"{reason} ({rows:,} rows, first line {first_lines[reason]})"
        for reason, rows in reasons_by_format[to].items()
    ]
    fitting_formats = [name for name, reasons in reasons_by_format.items() if not reasons]
    remedy = f"Write --to {fitting_formats[0]}" if fitting_formats else "Write a .jsonl file"
    raise DataError(
        f"{reasons_by_format[to].total():,} of {usable:,} rows cannot be written as {to} in a "
        f"{result.suffix} file",
        why=f"They hold {listing(why, 4)}.",
        fix=f"{remedy}, or remove these rows from the source.",
        where=result.data.name,
    )
