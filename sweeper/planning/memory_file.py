"""Predictions for a file of measurement records: a JSON list, or an object that holds one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeper.errors import Problem, UsageError
from sweeper.planning.memory import GIB, worst_phase
from sweeper.planning.memory_counters import (
    CONTEXT_GIB,
    SLACK,
    VOLTA_CONTEXT_GIB,
    counted,
    spread,
)
from sweeper.planning.memory_records import Case, case_of

_FORM = "Expected a JSON list of records, or an object with one such list."


def read_records(path: Path) -> list[Mapping[str, Any]]:
    """The records of a file.

    Raises:
        UsageError: It cannot be read, or holds no list of objects.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8 text", fix=_FORM, where=str(path)) from error
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise UsageError(f"is not JSON: {error.msg}", fix=_FORM, where=where) from error
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else None
    if not isinstance(content, list):
        raise UsageError("holds no list of records", fix=_FORM, where=str(path))
    wrong = [index for index, record in enumerate(content, 1) if not isinstance(record, dict)]
    if wrong:
        raise UsageError(
            [
                Problem(f"record {index} is not an object", fix=_FORM, where=str(path))
                for index in wrong
            ]
        )
    return content


def predictions(records: list[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """One prediction for each record, in order; see ``predict``."""
    for index, record in enumerate(records, 1):
        yield predict(case_of(record, str(record.get("id", index))))


def predict(case: Case) -> dict[str, Any]:
    """What the record's own counter should show, and whether the run fits its card.

    Returns:
        ``id``, ``peak_gib``, ``low_gib``, ``high_gib``, ``parts`` (GiB by name), ``fits`` where
        the card is known, ``counter`` and ``assumptions``.
    """
    worst = worst_phase(case.model, case.setup)
    parts = {name: size / GIB for name, size in worst.parts.items() if size > 0}
    tensors = sum(parts.values())
    context = VOLTA_CONTEXT_GIB if case.legacy else CONTEXT_GIB
    peak = counted(tensors, case.counter, context)
    if case.counter != "allocated":
        parts["allocator reserve"] = counted(tensors, "reserved") - tensors
    if case.counter == "device":
        parts["device context"] = context
    low, high = spread(case.setup, foreign=True, known=case.known).around(peak)
    answer: dict[str, Any] = {
        "id": case.id,
        "peak_gib": round(peak, 3),
        "low_gib": round(low, 3),
        "high_gib": round(high, 3),
        "parts": {name: round(size, 3) for name, size in parts.items()},
        "counter": case.counter,
        "assumptions": [f"the peak is in the {worst.name}", *case.assumptions],
    }
    if case.limit_gib is not None:
        answer["fits"] = tensors * (1 + SLACK) + context <= case.limit_gib
    return answer
