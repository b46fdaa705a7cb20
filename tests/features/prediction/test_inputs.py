"""Rows without answers become examples."""

import pytest

from sweeper.data.table import RowTable
from sweeper.errors import DataError
from sweeper.features.prediction._predict import inputs

CLASSES = {"text": "sentence", "label": "label"}
ALPACA = {"instruction": "instruction", "input": "input", "output": "output"}


@pytest.mark.parametrize(
    ("row", "data_format", "columns", "asked"),
    [
        ({"sentence": "a"}, "text-label", CLASSES, "a"),
        ({"text": "a", "id": 1}, "text-label", CLASSES, "a"),
        ({"words": "a"}, "text-label", CLASSES, "a"),
        ({"instruction": "a", "input": "b"}, "instruction", ALPACA, "a\nb"),
        ({"question": "a", "id": 1}, "instruction", ALPACA, "a"),
        ({"messages": [{"role": "user", "content": "a"}]}, "instruction", ALPACA, "a"),
        ({"text": "a"}, "text", {"text": "text"}, "a"),
    ],
)
def test_the_input_is_found_by_trained_or_usual_names(row, data_format, columns, asked):
    (found,) = inputs(RowTable("rows", ((1, row),)), data_format, columns)
    assert (found.messages[-2].content if found.messages else found.text) == asked


def test_every_row_without_input_is_named():
    rows = ((1, {"text": "a"}), (2, {"text": " "}), (4, {"text": None}))
    with pytest.raises(DataError, match=r"2 of 3 rows have no input(.|\n)*line 2(.|\n)*line 4"):
        inputs(RowTable("rows", rows), "text-label", CLASSES)


def test_columns_without_a_usual_name_are_listed():
    with pytest.raises(DataError, match="`x`, `y`"):
        inputs(RowTable("rows", ((1, {"x": "a", "y": "b"}),)), "text-label", CLASSES)
