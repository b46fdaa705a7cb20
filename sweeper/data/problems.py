"""Raises all problems of a data set at once, and words what their messages share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sweeper.errors import DataError, Problem
from sweeper.features import parts
from sweeper.spec import DataSpec, Task

WRITABLE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Suffixes of files that can be written."""

MAX_SHOWN = 10
"""At most this many problems are printed. A screen holds about ten of three lines."""


def raise_any(problems: Sequence[Problem]) -> None:
    """Raise the problems, if there are any.

    Raises:
        DataError: Has the first problems, and the number of the others.
    """
    if not problems:
        return
    first_problems = [*problems[:MAX_SHOWN]]
    if other_count := len(problems) - len(first_problems):
        first_problems.append(Problem(f"and {other_count} more problems like these"))
    raise DataError(first_problems)


def listing(items: Iterable[object], limit: int = 8, form: str = "{}") -> str:
    """The first items for a sentence, each formatted by ``form``, and how many more there are.

    >>> listing(["a", "b", "c"], limit=2), listing(["a", "b"], form="`{}`")
    ('a, b and 1 more', '`a`, `b`')
    """
    texts = [form.format(item) for item in items]
    shown = ", ".join(texts[:limit])
    other_count = len(texts) - limit
    return f"{shown} and {other_count} more" if other_count > 0 else shown


def flags_of(spec: DataSpec, task: Task | None) -> tuple[str, ...]:
    """The flags with which ``sweeper data`` reads rows as this spec does."""
    values = {"--task": task, "--data-name": spec.name}
    if spec.format != "auto":
        values["--format"] = spec.format
    pairs = [(flag, str(value)) for flag, value in values.items() if value is not None]
    for role, column in spec.columns.items():
        pairs.append(("--column", f"{role}={column}".replace("\n", r"\n")))
    return tuple(part for pair in pairs for part in pair)


def remedy(spec: DataSpec, kind: str, otherwise: str = "Correct these rows in the file.") -> str:
    """A sentence with the command that removes faults of a kind; ``otherwise`` if none does."""
    commands = [command for _, mend in parts.MEND_FAULTS.all() if (command := mend(spec, kind))]
    return f"To fix the file: {commands[0]}" if commands else otherwise
