"""Applies remedies to the rows of a data set, and lists every change."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from sweeper.data.changes import ListedChange, apply_changes
from sweeper.data.private import redacted
from sweeper.data.problems import WRITABLE_SUFFIXES
from sweeper.data.rows import DataRows
from sweeper.features.quality._checked_rows import CheckedRows, in_cell
from sweeper.features.quality._kinds.base import Fault, FaultKind, kinds

MAX_ROUNDS = 20
"""A remedy may cause faults of another kind or its own: rows without white space may be duplicates,
and without the longest row others become outliers. Most data sets take two rounds."""


@dataclass(frozen=True)
class Fixed:
    """A data set after remedies, and their changes in order."""

    data: CheckedRows
    changes: tuple[ListedChange, ...]


def fix(data: DataRows, wanted: Sequence[FaultKind]) -> Fixed:
    """Apply remedies until they find nothing more; those that use a model, once.

    A model that is fitted to its own changes would find more to change every time. Unreadable
    lines are always left out and listed, since no new file can hold them.
    """
    data = CheckedRows.of(data)
    chosen = [kind for kind in kinds().values() if kind in wanted and kind.has_remedy]
    unreadable = kinds()["unreadable"]
    chosen = [unreadable, *(kind for kind in chosen if kind is not unreadable)]
    changes: list[ListedChange] = []
    for number in range(MAX_ROUNDS):
        before = len(changes)
        for kind in chosen:
            if kind.missing(data) or (kind.uses_model and number):
                continue
            # A row that another kind mended instead is not mended again.
            others = {item.name for item in chosen if item.instead_of == kind.name}
            mended = {(item.path, item.line) for item in changes if item.remedy in others}
            rows = data.rows
            faults = [
                fault
                for fault in kind.find(data)
                if (rows[fault.row_index].path, rows[fault.row_index].line) not in mended
            ]
            new = _changes(data, kind, faults)
            data = apply_changes(data, new)
            changes += new
        if len(changes) == before:
            break
    return Fixed(data, tuple(changes))


def _changes(data: CheckedRows, kind: FaultKind, faults: list[Fault]) -> list[ListedChange]:
    """The changes that the remedy of a kind makes to rows with its faults, in their order."""
    details = {fault.row_index: fault.detail for fault in faults}
    changes: list[ListedChange] = []
    for index, new in sorted(kind.mend(data, faults).items() if faults else ()):
        row = data.rows[index]
        before, after = row.fields if row.readable else {"unreadable": row.raw}, dict[str, object]()
        if new is not None:
            after = {n: cell for n, cell in new.fields.items() if cell != row.fields.get(n)}
            before = {name: row.fields.get(name) for name in after}
            if not after:
                continue
        action = "removed" if new is None else "changed"
        why = details.get(index) or kind.title
        if kind.name == "private":  # the list must not keep what the remedy removes
            before = {name: in_cell(cell, redacted) for name, cell in before.items()}
        changes.append(ListedChange(row.path, row.line, kind.name, action, why, before, after))
    return changes


def fix_command(name: str, *flags: str) -> str:
    """The command that fixes a data set; a new file keeps the suffix if it can be written.

    >>> fix_command("my rows.csv", "--all-safe")
    "sweeper data fix 'my rows.csv' --all-safe -o NEW.csv"
    """
    suffix = PurePath(name).suffix.lower()
    new = f"NEW{suffix if suffix in WRITABLE_SUFFIXES else ''}"
    return f"sweeper data fix {shlex.join((name, *flags))} -o {new}"
