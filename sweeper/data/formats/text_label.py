"""Texts with a class, and how a language model is asked for the class's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from sweeper.data.contents import without_surrogates
from sweeper.data.examples import Example, Message, input_key
from sweeper.data.formats.row_format import EmptyRow, RawRow, RoleChecks, RowFormat, Shape, text_of
from sweeper.data.table import Fields

_CLASS_COLUMNS = ("label", "labels", "target", "class", "category", "intent", "sentiment")
_LABEL_COLUMNS = ("label_text", "label_name", "class_name", *_CLASS_COLUMNS)
_PAIR_COLUMNS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("title", "body"),
    ("question", "sentence"),
    ("text1", "text2"),
)
_TEXT_COLUMNS = ("text", "sentence", "review", "content", "question", "query", "utterance")

MAX_SHARE_OF_CLASSES = 0.25
"""A column with more different values than this share of the sample holds no classes. Other loaders
allow a twentieth of all rows, but the sample has at most 500: 77 classes (banking77) are 15%."""

MAX_CLASS_CHARACTERS = 60
"""A longer value is not the name of a class."""

MAX_LISTED_CLASSES = 10
"""More classes are not listed in the question: the list would be longer than the text."""


def is_class(value: object) -> bool:
    """Whether a value can name a class: a string, a whole number, or true and false."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, str | int)


class TextLabel(RowFormat):
    """One text or a pair of texts, and the name or number of its class."""

    name = "text-label"
    order = 40
    tasks = ("classification",)
    columns = "`text`, `sentence`, `question`, ... and `label`, `intent`, `category`, ..."
    shapes = (
        *(
            Shape({"text": (first,), "text_pair": (second,), "label": _LABEL_COLUMNS})
            for first, second in _PAIR_COLUMNS
        ),
        Shape({"text": _TEXT_COLUMNS, "label": _LABEL_COLUMNS}),
    )
    value_checks: ClassVar[RoleChecks] = {"label": is_class}

    def example(self, row: RawRow) -> Example:
        """The text (both texts of a pair, in two lines) and the name of its class."""
        text = row.required("text")
        if "text_pair" in row.form.columns:
            text = f"{text}\n{row.required('text_pair')}"
        label = without_surrogates(class_name(row.valid_value("label"), row.label_names))
        if not label:
            raise EmptyRow
        return Example(input_key(text), row.line, text=text, label=label)

    def guessed_shape(
        self, sample: Sequence[Fields], present: Mapping[str, str], user_columns: Mapping[str, str]
    ) -> Shape | None:
        """A label column by its name or its few values, and the only column that holds text."""
        label = user_columns.get("label") or next(
            (present[name] for name in _LABEL_COLUMNS if name in present), None
        )
        if label is None:
            candidates = [column for column in present.values() if _has_few_values(sample, column)]
            label = candidates[0] if len(candidates) == 1 else None
        text_columns = [
            column for column in present.values() if column != label and _is_prose(sample, column)
        ]
        text = user_columns.get("text") or (text_columns[0] if len(text_columns) == 1 else None)
        if label is None or text is None:
            return None
        return Shape({"text": (text.lower(),), "label": (label.lower(),)})

    def hint(self, sample: Sequence[Fields]) -> str:
        """A sentence about labels that are lists or fractions, not classes; empty for others."""
        for name in _CLASS_COLUMNS:
            cells = [fields[name] for fields in sample if fields.get(name) is not None]
            if cells and all(isinstance(cell, list) for cell in cells):
                return (
                    f"`{name}` holds lists: several labels a row (multi-label) are not supported."
                )
            if cells and any(isinstance(cell, float) and not cell.is_integer() for cell in cells):
                return (
                    f"`{name}` holds fractions: that is a score to predict, not a class. "
                    "Regression is not done here: round the scores to classes, or train with "
                    "transformers (problem_type='regression')."
                )
        return ""


def _has_few_values(sample: Sequence[Fields], column: str) -> bool:
    """Whether a column has few different short values."""
    cells = [cell for fields in sample if (cell := fields.get(column)) is not None]
    if not cells or not all(
        isinstance(cell, str) and len(cell) <= MAX_CLASS_CHARACTERS for cell in cells
    ):
        return False
    return 2 <= len(set(cells)) <= len(cells) * MAX_SHARE_OF_CLASSES


def _is_prose(sample: Sequence[Fields], column: str) -> bool:
    """Whether most cells are strings with more than one word."""
    cells = [fields.get(column) for fields in sample]
    return sum(isinstance(cell, str) and " " in cell.strip() for cell in cells) > len(cells) / 2


def class_name(value: object, names: Sequence[str] = ()) -> str:
    """The name of a class: its text without white space around it, or its number's in ``names``.

    >>> class_name(1.0), class_name(True), class_name(1, ["no", "yes"])
    ('1', 'true', 'yes')
    """
    if isinstance(value, bool):
        value = int(value) if names else str(value).lower()
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return text_of(value).strip()


def class_question(text: str, labels: Sequence[str]) -> Message:
    """The question about one text, in the words that training uses.

    >>> class_question("Hi.", ["a", "b"]).content
    'Which class does this text belong to: a, b?\\n\\nHi.'
    """
    class_list = f": {', '.join(labels)}" if len(labels) <= MAX_LISTED_CLASSES else ""
    return Message("user", f"Which class does this text belong to{class_list}?\n\n{text}")


def class_turns(example: Example, labels: Sequence[str]) -> tuple[Message, ...]:
    """The question and the name of the true class."""
    return class_question(example.text, labels), Message("assistant", str(example.label))
