"""Predictions for a file of measurement records: a JSON list, or an object that holds one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.memory.counters import shown
from benchmarks.memory.records import Case, case_of
from sweeper.errors import UsageError
from sweeper.memory.estimate import CONTEXT_GIB, SLACK, worst_phase
from sweeper.units import GIB

_FORM = "Expected a JSON list of records, an object with one such list, or one record."
#: An object with one of these fields is a record, whatever lists it holds.
_TELLING = frozenset(
    {"id", "model", "n_params", "hidden", "method", "micro_batch", "sequence_length", "config"}
)


def read_records(path: Path) -> list[Any]:
    """The records of a file: a JSON list, an object that holds one, one record, or JSON Lines.

    Raises:
        UsageError: It cannot be read, or holds no record.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = _parsed(text)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise UsageError("is not UTF-8 text", fix=_FORM, where=str(path)) from error
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}"
        raise UsageError(f"is not JSON: {error.msg}", fix=_FORM, where=where) from error
    found = _records_in(content)
    if found is None:
        raise UsageError("holds no list of records", fix=_FORM, where=str(path))
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith("{") for line in lines):
            raise
        try:
            return [json.loads(line) for line in lines]
        except json.JSONDecodeError:
            pass
        raise


def _records_in(content: Any) -> list[Any] | None:
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        return None
    if _TELLING & set(content):
        return [content]
    lists = [value for value in content.values() if isinstance(value, list)]
    holding = [value for value in lists if any(isinstance(item, dict) for item in value)]
    chosen = holding or lists
    return chosen[0] if len(chosen) == 1 else None


def predictions(records: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """One prediction for each record, in order; see ``predict``.

    What is no object gets ``id`` (its place) and ``error`` instead, and the others are predicted
    all the same.
    """
    for index, record in enumerate(records, 1):
        if isinstance(record, Mapping):
            yield predict(case_of(record, str(record.get("id", index))))
        else:
            kind = type(record).__name__
            yield {"id": str(index), "error": f"record {index} is not an object ({kind})"}


def predict(case: Case) -> dict[str, Any]:
    """What the record's own counter should show, and whether the run fits its card.

    Returns:
        ``id``, ``peak_gib``, ``low_gib``, ``high_gib``, ``parts`` (GiB by name), ``fits`` where
        the card is known, ``counter`` and ``assumptions``; ``problems`` where fields could not be
        read and were taken for missing.
    """
    worst = worst_phase(case.model, case.setup)
    parts = {name: size / GIB for name, size in worst.parts.items() if size > 0}
    found = shown(case)
    beside = {"allocator reserve": found.reserve, "device context": found.context}
    parts |= {name: size for name, size in beside.items() if size > 0}
    answer: dict[str, Any] = {
        "id": case.id,
        "peak_gib": round(found.peak, 3),
        "low_gib": round(found.low, 3),
        "high_gib": round(found.high, 3),
        "parts": {name: round(size, 3) for name, size in parts.items()},
        "counter": case.counter,
        "assumptions": [f"the peak is in the {worst.name}", *case.assumptions],
    }
    if case.problems:
        answer["problems"] = list(case.problems)
    if case.limit_gib is not None:
        needed = found.tensors * (1 + SLACK) + (found.context or CONTEXT_GIB)
        answer["fits"] = needed <= case.limit_gib
    return answer
