"""Calls an objective that the user wrote, in a process of its own with a time limit.

``python -m sweeper.metrics.user_function`` is that process: whatever the function prints, breaks or
waits for stays there. Loads no torch of its own.
"""

from __future__ import annotations

import importlib
import inspect
import json
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from sweeper.child_process import NoAnswer, ask_object
from sweeper.data.examples import Example
from sweeper.errors import SpecError
from sweeper.metrics.base import item_values
from sweeper.objective import Objective

# A minute for one evaluation; the check before a sweep takes as long at most.
SECONDS = 60.0
# Items of the check.
_SAMPLE = 8
_OUTSIDE = " in <module>"


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
    question = {
        "name": objective.name,
        "folder": objective.folder,
        "predictions": list(predictions),
        "references": [example.answer for example in examples],
        "rows": [_row(example) for example in examples],
    }
    name = f"the objective {objective.name}"
    try:
        found = ask_object(__name__, json.dumps(question), seconds=SECONDS)
    except NoAnswer as error:
        raise SpecError(f"{name}: {error}", fix="It may take a minute.") from error
    if "error" in found:
        raise SpecError(
            f"{name}: {found['error']}" + (f" ({found['at']})" if found["at"] else ""),
            fix="It takes predictions, references and rows, and returns a number, or a list with "
            "one number an item: docs/objective.md.",
        )
    return float(found["value"]), [float(one) for one in found["items"]]


def check(objective: Objective, examples: Sequence[Example]) -> float:
    """What the function says of a few references in place of predictions."""
    sample = [one for one in examples if one.answer][:_SAMPLE]
    return measured(objective, [example.answer for example in sample], sample)[0]


def _row(example: Example) -> dict[str, object]:
    asked = "\n\n".join(message.content for message in example.messages[:-1])
    return {
        "text": example.text or asked,
        "references": list(example.references or (example.answer,)),
        "tests": list(example.tests),
        "source": example.source,
        "line": example.line,
    }


class _Unfit(Exception):
    """What is wrong with the function or with what it returned."""


def _called(
    function: Callable[..., Any], predictions: list[Any], references: list[Any], rows: list[Any]
) -> float | list[float]:
    found = function(predictions, references, rows)
    if isinstance(found, str | bytes | dict | None):
        raise _Unfit(f"it returned {found!r:.60}, which is no number")
    try:
        numbers = float(found)
    except (TypeError, ValueError):
        each = [float(one) for one in found]
        if len(each) != len(predictions):
            told = f"it returned {len(each)} numbers for {len(predictions)} items"
            raise _Unfit(told) from None
        _check_finite(each)
        return each
    _check_finite([numbers])
    return numbers


def _check_finite(numbers: Sequence[float]) -> None:
    odd = next((one for one in numbers if not math.isfinite(one)), None)
    if odd is not None:
        raise _Unfit(f"it returned {odd}")


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    module, _, name = question["name"].partition(":")
    sys.path[:0] = [folder for folder in (question["folder"],) if folder]
    if "" not in sys.path:
        sys.path.append("")
    function: Any = None
    try:
        file = importlib.import_module(module)
        function = getattr(file, name, None)
        if not callable(function):
            raise _Unfit(f"{module} has no function {name!r}")
        predictions, references = question["predictions"], question["references"]
        rows = question["rows"]
        whole = _called(function, predictions, references, rows)
        if isinstance(whole, list):
            return {"value": math.fsum(whole) / len(whole), "items": whole}

        def compute(said: Sequence[Any], kept: Sequence[Any]) -> float:
            known, places = [one for one, _ in kept], [place for _, place in kept]
            part = _called(function, list(said), known, [rows[place] for place in places])
            return part if isinstance(part, float) else math.fsum(part) / len(part)

        placed = [(one, place) for place, one in enumerate(references)]
        items = item_values(compute, predictions, placed, per_item=False)
    except _Unfit as error:
        return {"error": str(error), "at": _definition(function) or file.__file__ or ""}
    except BaseException as error:  # noqa: BLE001 - it is anybody's code
        return {"error": f"{type(error).__name__}: {error}".rstrip(": "), "at": _line(error)}
    return {"value": whole, "items": items}


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
    theirs = [one for one in frames if one.filename != __file__ and "importlib" not in one.filename]
    if not theirs:
        return ""
    return f"{theirs[-1].filename}:{theirs[-1].lineno} in {theirs[-1].name}".removesuffix(_OUTSIDE)


if __name__ == "__main__":
    asked, said = json.load(sys.stdin), sys.stdout
    sys.stdout = sys.stderr  # what the function prints is not the answer
    answer = _answer(asked)
    said.write("\n" + json.dumps(answer) + "\n")
