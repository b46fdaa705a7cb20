"""Rows to examples: one function for each format, and what had to be left out on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sweeper.data.column_names import Role
from sweeper.data.conversations import Unusable, conversation
from sweeper.data.detect import AGREEMENT, Form
from sweeper.data.encoding import is_garbled, without_surrogates
from sweeper.data.examples import Example, Message, input_key
from sweeper.data.problems import listing
from sweeper.data.table import Fields, Table
from sweeper.data.values import accepts, class_name, text_of, turns_of
from sweeper.errors import DataError


class Empty(ValueError):
    """A row without input or without answer."""


@dataclass(frozen=True)
class Examples:
    """The examples of one table, and how many rows did not become one."""

    kept: list[Example]
    empties: int = 0
    skipped: Mapping[str, list[int]] = field(default_factory=dict)
    garbled: int = 0


@dataclass(frozen=True)
class _Row:
    """One row, asked by role."""

    line: int
    fields: Fields
    columns: Mapping[Role, str]
    label_names: tuple[str, ...]
    templated: bool

    def value(self, role: Role) -> object:
        column = self.columns.get(role)
        return None if column is None else self.fields.get(column)

    def text(self, role: Role) -> str:
        return without_surrogates(text_of(self.value(role)))

    def required(self, role: Role) -> str:
        """The text of a role.

        Raises:
            Empty: There is nothing but white space.
            Unusable: The value is of another kind.
        """
        value = self.value(role)
        if value is not None and not accepts(role, value):
            raise Unusable(f"`{self.columns[role]}` holds {type(value).__name__}")
        text = self.text(role)
        if not text.strip():
            raise Empty
        return text


def examples(table: Table, form: Form) -> Examples:
    """The examples of a table.

    Raises:
        DataError: More rows than recognition tolerates do not have the form.
    """
    build = BUILDERS[form.format]
    label_names = table.label_names.get(form.columns.get("label", ""), ())
    kept: list[Example] = []
    empties = 0
    skipped: dict[str, list[int]] = {}
    for line, fields in table.rows:
        try:
            kept.append(build(_Row(line, fields, form.columns, label_names, form.templated)))
        except Empty:
            empties += 1
        except Unusable as reason:
            skipped.setdefault(str(reason), []).append(line)
    _refuse_many_skipped(table, skipped)
    garbled = sum(_is_garbled(example) for example in kept)
    return Examples(kept, empties, skipped, max(garbled, len(table.garbled)))


def example_or_reason(table: Table, form: Form, line: int, fields: Fields) -> Example | str:
    """The example of one row, or why there is none."""
    names = table.label_names.get(form.columns.get("label", ""), ())
    try:
        return BUILDERS[form.format](_Row(line, fields, form.columns, names, form.templated))
    except Empty:
        return "it is empty"
    except Unusable as reason:
        return str(reason)


def _text_label(row: _Row) -> Example:
    text = row.required("text")
    if "text_pair" in row.columns:
        text = f"{text}\n{row.required('text_pair')}"
    value = row.value("label")
    if value is not None and not accepts("label", value):
        raise Unusable(f"`{row.columns['label']}` holds {type(value).__name__}")
    label = without_surrogates(class_name(value, row.label_names))
    if not label:
        raise Empty
    return Example(input_key(text), row.line, text=text, label=label)


def _plain_text(row: _Row) -> Example:
    text = row.required("text")
    return Example(input_key(text), row.line, text=text, templated=row.templated)


def _instruction(row: _Row) -> Example:
    prompt = row.required("instruction")
    if given := row.text("input").strip():
        prompt = f"{prompt}\n{given}"
    messages = [*_system(row), *_history(row), Message("user", prompt)]
    return _answered(row, tuple(messages), "output")


def _prompt_completion(row: _Row) -> Example:
    prompt, completion = turns_of(row.value("prompt")), turns_of(row.value("completion"))
    if prompt is None and completion is None:
        asked = (*_system(row), Message("user", row.required("prompt")))
        return _answered(row, asked, "completion")
    turns = [
        *(prompt or [{"role": "user", "content": row.required("prompt")}]),
        *(completion or [{"role": "assistant", "content": row.required("completion")}]),
    ]
    return _conversed(row, conversation(turns, row.text("system")))


def _messages(row: _Row) -> Example:
    turns = turns_of(row.value("messages"))
    if turns is None:
        if row.value("messages") in (None, "", []):
            raise Empty
        raise Unusable(f"`{row.columns['messages']}` is not a list of turns")
    return _conversed(row, conversation(turns, row.text("system")))


BUILDERS: dict[str, Callable[[_Row], Example]] = {
    "text-label": _text_label,
    "text": _plain_text,
    "instruction": _instruction,
    "prompt-completion": _prompt_completion,
    "messages": _messages,
}


def _system(row: _Row) -> tuple[Message, ...]:
    system = row.text("system")
    return (Message("system", system),) if system.strip() else ()


def _history(row: _Row) -> list[Message]:
    """Earlier turns, as pairs of question and answer."""
    history = row.value("history")
    messages: list[Message] = []
    for pair in history if isinstance(history, list) else []:
        if not (isinstance(pair, list) and len(pair) == 2):
            raise Unusable("`history` is not a list of pairs")
        asked, answered = (without_surrogates(text_of(part)) for part in pair)
        messages += [Message("user", asked), Message("assistant", answered)]
    return messages


def _answered(row: _Row, asked: tuple[Message, ...], role: Role) -> Example:
    """An example whose answer is a column; of several accepted answers, the first is trained on.

    Where the answer only goes on with the code that was asked with (HumanEval), both together are
    the answer, so that it is a program of its own.
    """
    answer = row.required(role)
    if row.columns[role] == "canonical_solution":
        answer = asked[-1].content + answer
    references: tuple[str, ...] = ()
    value = row.value(role)
    if isinstance(value, list):
        references = tuple(without_surrogates(part) for part in value)
        answer = references[0]
        if not answer.strip():
            raise Empty
    return Example(
        input_key(*(message.content for message in asked)),
        row.line,
        messages=(*asked, Message("assistant", answer)),
        references=references,
        tests=_tests(row),
    )


def _conversed(row: _Row, messages: tuple[Message, ...]) -> Example:
    messages = tuple(Message(m.role, without_surrogates(m.content)) for m in messages)
    if not all(message.content.strip() for message in messages):
        raise Empty
    key = input_key(*(message.content for message in messages[:-1]))
    return Example(key, row.line, messages=messages, tests=_tests(row))


def _tests(row: _Row) -> tuple[str, ...]:
    """Programs that check an answer: MBPP's list, or HumanEval's one that must be called."""
    value = row.value("tests")
    if isinstance(value, list):
        setup = text_of(row.fields.get("test_setup_code"))
        tests = [text_of(test) for test in value]
        return tuple(f"{setup}\n{test}" if setup else test for test in tests)
    if isinstance(value, str) and (entry := row.fields.get("entry_point")):
        return (f"{value}\ncheck({entry})\n",)
    return (value,) if isinstance(value, str) else ()


def _is_garbled(example: Example) -> bool:
    return is_garbled(example.text) or any(is_garbled(m.content) for m in example.messages)


def _refuse_many_skipped(table: Table, skipped: Mapping[str, list[int]]) -> None:
    count = sum(map(len, skipped.values()))
    if count <= (1 - AGREEMENT) * len(table.rows):
        return
    reasons = Counter({reason: len(lines) for reason, lines in skipped.items()}).most_common()
    said = [f"{reason} ({rows} rows, first line {skipped[reason][0]})" for reason, rows in reasons]
    raise DataError(
        f"{count} of {len(table.rows)} rows do not have the form of the others",
        why=listing(said, 4),
        fix="Repair or remove these rows; up to 5% are left out and counted.",
        where=table.name,
    )
