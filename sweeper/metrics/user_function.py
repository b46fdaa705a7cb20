"""Calls an objective that the user wrote, in a child process with a time limit.

The function's output, failures and delays stay in the child. This module does not load torch.
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

# Time limit of one evaluation, and of the check before a sweep.
TIMEOUT_SECONDS = 60.0
# Number of items in the check before a sweep.
_CHECKED_ITEMS = 8
# End of a position in a traceback that is outside of any function.
_MODULE_LEVEL = " in <module>"


class ItemsToMeasure(Record):
    """A request to the child: the function, the predictions and their examples."""

    objective: Objective
    predictions: tuple[str, ...]
    examples: tuple[Example, ...]


class ItemValues(Record):
    """The child's reply: the function's value over all items, and one number for each item."""

    value: float
    items: tuple[float, ...]


def measure(
    objective: Objective, predictions: Sequence[str], examples: Sequence[Example]
) -> tuple[float, list[float]]:
    """The function's value over all items, and one number for each item (see ``item_values``).

    Args:
        predictions: For each item, the name of the predicted class or the generated answer.

    Raises:
        SpecError: The function cannot be imported, raised, took too long, or did not return
            finite numbers; the error names file and line.
    """
    request = ItemsToMeasure(
        objective=objective, predictions=tuple(predictions), examples=tuple(examples)
    )
    what = f"the objective {objective.name}"
    try:
        values = in_child(
            f"{__name__}:answer", request, ItemValues, what=what, seconds=TIMEOUT_SECONDS
        )
    except ChildFailed as error:
        raise SpecError(
            error.problems[0].what, fix="The function may take a minute at most."
        ) from error
    return values.value, list(values.items)


def check(objective: Objective, examples: Sequence[Example]) -> float:
    """Call the function once with a few references as predictions; return its value."""
    sample = [item for item in examples if item.answer][:_CHECKED_ITEMS]
    return measure(objective, [example.answer for example in sample], sample)[0]


def _row_for_function(example: Example) -> dict[str, object]:
    prompt = "\n\n".join(message.content for message in example.messages[:-1])
    return {
        "text": example.text or prompt,
        "references": list(example.accepted),
        "tests": list(example.tests),
        "source": example.source,
        "line": example.line,
    }


class _InvalidFunction(Exception):
    """The function or its return value is invalid; the message says why."""


def _call(
    function: Callable[..., Any], predictions: list[Any], references: list[Any], rows: list[Any]
) -> float | list[float]:
    returned = function(predictions, references, rows)
    if isinstance(returned, str | bytes | dict | None):
        raise _InvalidFunction(f"it returned {returned!r:.60}, which is not a number")
    value: float | list[float]
    try:
        value = float(returned)
    except (TypeError, ValueError):
        value = [float(number) for number in returned]
        if len(value) != len(predictions):
            what = f"it returned {len(value)} numbers for {len(predictions)} items"
            raise _InvalidFunction(what) from None
    for number in value if isinstance(value, list) else [value]:
        if not math.isfinite(number):
            raise _InvalidFunction(f"it returned {number}")
    return value


def answer(request: ItemsToMeasure) -> ItemValues:
    """The function's value and item values; runs in the child process.

    Raises:
        SpecError: The function cannot be imported, raised, or did not return finite numbers.
    """
    module, _, name = request.objective.name.partition(":")
    sys.path[:0] = [folder for folder in (request.objective.folder,) if folder]
    if "" not in sys.path:  # the working directory
        sys.path.append("")
    function: Any = None
    try:
        user_module = importlib.import_module(module)
        function = getattr(user_module, name, None)
        if not callable(function):
            raise _InvalidFunction(f"{module} has no function {name!r}")
        predictions = list(request.predictions)
        references = [example.answer for example in request.examples]
        rows = [_row_for_function(example) for example in request.examples]
        returned = _call(function, predictions, references, rows)
        if isinstance(returned, list):
            return ItemValues(value=math.fsum(returned) / len(returned), items=tuple(returned))

        # Both sequences have the items that one group of the jackknife leaves.
        def compute(predicted: Sequence[Any], numbered: Sequence[Any]) -> float:
            kept_references = [reference for reference, _ in numbered]
            kept_rows = [rows[row] for _, row in numbered]
            value = _call(function, list(predicted), kept_references, kept_rows)
            return value if isinstance(value, float) else math.fsum(value) / len(value)

        numbered_references = [(reference, row) for row, reference in enumerate(references)]
        items = item_values(compute, predictions, numbered_references, per_item=False)
    except _InvalidFunction as error:
        raise _wrong_function_error(
            request, str(error), _position_of_function(function) or user_module.__file__ or ""
        ) from None
    except BaseException as error:  # noqa: BLE001 - it is anybody's code
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        raise _wrong_function_error(request, what, _position_of_error(error)) from None
    return ItemValues(value=returned, items=tuple(items))


def _wrong_function_error(request: ItemsToMeasure, what: str, place: str) -> SpecError:
    return SpecError(
        f"the objective {request.objective.name}: {what}" + (f" ({place})" if place else ""),
        fix="It takes predictions, references and rows, and returns a number, or a list with "
        "one number an item: docs/objective.md.",
    )


def _position_of_function(function: Any) -> str:
    try:
        return f"{inspect.getsourcefile(function)}:{function.__code__.co_firstlineno}"
    except (AttributeError, TypeError):
        return ""


def _position_of_error(error: BaseException) -> str:
    """The last line of the user's code in the traceback; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own_files = (__file__, "importlib")
    user_frames = [
        frame for frame in frames if not any(name in frame.filename for name in own_files)
    ]
    if not user_frames:
        return ""
    last_frame = user_frames[-1]
    return f"{last_frame.filename}:{last_frame.lineno} in {last_frame.name}".removesuffix(
        _MODULE_LEVEL
    )
