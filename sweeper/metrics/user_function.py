"""Calls an objective that the user wrote, in a process of its own with a time limit.

Whatever the function prints, breaks or waits for stays there. Loads no torch of its own.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from sweeper.artifact import Record
from sweeper.child_process import in_child
from sweeper.data.examples import Example
from sweeper.errors import ChildFailed, SpecError
from sweeper.metrics.metric import item_values
from sweeper.objective import Objective

# A minute for one evaluation; the check before a sweep takes as long at most.
SECONDS = 60.0
# Items of the check.
_SAMPLE = 8
_OUTSIDE = " in <module>"


class ItemsToMeasure(Record):
    """The function, what was predicted, and for which examples."""

    objective: Objective
    predictions: tuple[str, ...]
    examples: tuple[Example, ...]


class ItemValues(Record):
    """The function's value over all items, and one number an item."""

    value: float
    items: tuple[float, ...]


def measured(
    objective: Objective, predictions: Sequence[str], examples: Sequence[Example]
) -> tuple[float, list[float]]:
    """The function's value over all items, and one number an item (see ``item_values``).

    Args:
        predictions: One an item: the name of the predicted class, or the answer in writing.

    Raises:
        SpecError: It cannot be imported, raised, took too long, or returned something else than
            finite numbers; with its name, file and line.
    """
    request = ItemsToMeasure(
        objective=objective, predictions=tuple(predictions), examples=tuple(examples)
    )
    what = f"the objective {objective.name}"
    try:
        values = in_child(f"{__name__}:answer", request, ItemValues, what=what, seconds=SECONDS)
    except ChildFailed as error:
        raise SpecError(error.problems[0].what, fix="It may take a minute.") from error
    return values.value, list(values.items)


def check(objective: Objective, examples: Sequence[Example]) -> float:
    """What the function says of a few references in place of predictions."""
    sample = [item for item in examples if item.answer][:_SAMPLE]
    return measured(objective, [example.answer for example in sample], sample)[0]


def _row(example: Example) -> dict[str, object]:
    asked = "\n\n".join(message.content for message in example.messages[:-1])
    return {
        "text": example.text or asked,
        "references": list(example.accepted),
        "tests": list(example.tests),
        "source": example.source,
        "line": example.line,
    }


class _Unfit(Exception):
    """What is wrong with the function or with what it returned."""


def _called(
    function: Callable[..., Any], predictions: list[Any], references: list[Any], rows: list[Any]
) -> float | list[float]:
    returned = function(predictions, references, rows)
    if isinstance(returned, str | bytes | dict | None):
        raise _Unfit(f"it returned {returned!r:.60}, which is no number")
    try:
        numbers = float(returned)
    except (TypeError, ValueError):
        each = [float(number) for number in returned]
        if len(each) != len(predictions):
            what = f"it returned {len(each)} numbers for {len(predictions)} items"
            raise _Unfit(what) from None
        _check_finite(each)
        return each
    _check_finite([numbers])
    return numbers


def _check_finite(numbers: Sequence[float]) -> None:
    odd = next((number for number in numbers if not math.isfinite(number)), None)
    if odd is not None:
        raise _Unfit(f"it returned {odd}")


def answer(request: ItemsToMeasure) -> ItemValues:
    """Call the function, in the process that is its own.

    Raises:
        SpecError: It cannot be imported, raised, or returned something else than finite numbers.
    """
    module, _, name = request.objective.name.partition(":")
    sys.path[:0] = [folder for folder in (request.objective.folder,) if folder]
    if "" not in sys.path:
        sys.path.append("")
    function: Any = None
    try:
        file = importlib.import_module(module)
        function = getattr(file, name, None)
        if not callable(function):
            raise _Unfit(f"{module} has no function {name!r}")
        predictions = list(request.predictions)
        references = [example.answer for example in request.examples]
        rows = [_row(example) for example in request.examples]
        whole = _called(function, predictions, references, rows)
        if isinstance(whole, list):
            return ItemValues(value=math.fsum(whole) / len(whole), items=tuple(whole))

        def compute(predicted: Sequence[Any], kept: Sequence[Any]) -> float:
            expected, places = [reference for reference, _ in kept], [row for _, row in kept]
            part = _called(function, list(predicted), expected, [rows[row] for row in places])
            return part if isinstance(part, float) else math.fsum(part) / len(part)

        placed = [(reference, row) for row, reference in enumerate(references)]
        items = item_values(compute, predictions, placed, per_item=False)
    except _Unfit as error:
        raise _refused(request, str(error), _definition(function) or file.__file__ or "") from None
    except BaseException as error:  # noqa: BLE001 - it is anybody's code
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        raise _refused(request, what, _line(error)) from None
    return ItemValues(value=whole, items=tuple(items))


def _refused(request: ItemsToMeasure, what: str, at: str) -> SpecError:
    return SpecError(
        f"the objective {request.objective.name}: {what}" + (f" ({at})" if at else ""),
        fix="It takes predictions, references and rows, and returns a number, or a list with "
        "one number an item: docs/objective.md.",
    )


def _definition(function: Any) -> str:
    try:
        return f"{inspect.getsourcefile(function)}:{function.__code__.co_firstlineno}"
    except (AttributeError, TypeError):
        return ""


def _line(error: BaseException) -> str:
    """The line of the user's own code at which it broke."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = (__file__, "importlib")
    theirs = [frame for frame in frames if not any(name in frame.filename for name in ours)]
    if not theirs:
        return ""
    return f"{theirs[-1].filename}:{theirs[-1].lineno} in {theirs[-1].name}".removesuffix(_OUTSIDE)
