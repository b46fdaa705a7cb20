"""Applies remedies to a data set, and writes its rows and the list of changes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from sweeper.artifact import Record
from sweeper.data.private import redacted
from sweeper.data.problems import WRITABLE_SUFFIXES
from sweeper.data.rows import DataRows
from sweeper.data.write_rows import (
    ListedChange,
    apply_changes,
    change_list,
    changes_path,
    count_changes,
    name_in_folder,
    write_rows,
)
from sweeper.errors import UsageError
from sweeper.facts.dataset.lengths import token_counter
from sweeper.facts.models.model import model_facts
from sweeper.features.quality._checked_rows import CheckedRows, TokenCap, edit_cell, evaluation_rows
from sweeper.features.quality._kinds.base import Fault, FaultKind, kinds, kinds_by_name
from sweeper.spec import ModelSpec
from sweeper.spec import names as split_names
from sweeper.textfiles import replacing, write_text

MAX_ROUNDS = 20
"""Maximum rounds of remedies. One remedy may cause faults for another: without their white space,
rows may be duplicates. Most data sets take two rounds."""


@dataclass(frozen=True)
class Fixed:
    """A data set after remedies, and their changes in the order of application."""

    data: CheckedRows
    changes: tuple[ListedChange, ...]


def fix(data: DataRows, wanted: Sequence[FaultKind]) -> Fixed:
    """Apply the remedies of the wanted kinds of faults in rounds until a round changes nothing.

    Remedies that use a model run once: a model that is fitted to its own changes would find more
    every time. Unreadable lines are always left out and listed, since no new file can hold them.
    """
    data = CheckedRows.of(data)
    chosen = [kind for kind in kinds().values() if kind in wanted and kind.has_remedy]
    unreadable = kinds()["unreadable"]
    chosen = [unreadable, *(kind for kind in chosen if kind is not unreadable)]
    changes: list[ListedChange] = []
    for round_number in range(MAX_ROUNDS):
        change_count = len(changes)
        for kind in chosen:
            if kind.why_unchecked(data) or (kind.uses_model and round_number > 0):
                continue
            # Another chosen kind may fix the same fault in another way: skip the rows it changed.
            alternatives = {item.name for item in chosen if item.instead_of == kind.name}
            mended = {(item.path, item.line) for item in changes if item.remedy in alternatives}
            rows = data.rows
            faults = [
                fault
                for fault in kind.find(data)
                if (rows[fault.row_index].path, rows[fault.row_index].line) not in mended
            ]
            new_changes = _changes(data, kind, faults)
            data = apply_changes(data, new_changes)
            changes += new_changes
        if len(changes) == change_count:
            break
    return Fixed(data, tuple(changes))


def _changes(data: CheckedRows, kind: FaultKind, faults: list[Fault]) -> list[ListedChange]:
    """The changes that a kind's remedy makes to faulty rows, in row order."""
    details = {fault.row_index: fault.detail for fault in faults}
    changes: list[ListedChange] = []
    for index, new_row in sorted(kind.mend(data, faults).items() if faults else ()):
        row = data.rows[index]
        old_cells = row.fields if row.readable else {"unreadable": row.raw}
        new_cells: dict[str, object] = {}
        if new_row is not None:  # list only the cells that differ
            new_cells = {n: cell for n, cell in new_row.fields.items() if cell != row.fields.get(n)}
            old_cells = {name: row.fields.get(name) for name in new_cells}
            if not new_cells:
                continue
        action = "removed" if new_row is None else "changed"
        why = details.get(index) or kind.title
        if kind.name == "private":  # the list must not keep what the remedy removes
            old_cells = {name: edit_cell(cell, redacted) for name, cell in old_cells.items()}
        changes.append(
            ListedChange(row.path, row.line, kind.name, action, why, old_cells, new_cells)
        )
    return changes


def fix_command(name: str, *flags: str) -> str:
    """The command that fixes a data set; the new file keeps the suffix if it can be written.

    >>> fix_command("my rows.csv", "--all-safe")
    "sweeper data fix 'my rows.csv' --all-safe -o NEW.csv"
    """
    suffix = PurePath(name).suffix.lower()
    new_name = f"NEW{suffix if suffix in WRITABLE_SUFFIXES else ''}"
    return f"sweeper data fix {shlex.join((name, *flags))} -o {new_name}"


def rows_to_check(
    rows: DataRows, max_length: int | None, model: str | None, against: str | None
) -> CheckedRows:
    """The rows with the token limit and the evaluation set that flags name.

    The flags are kept for the commands that findings suggest.

    Raises:
        UsageError: ``model`` is given without ``max_length``.
        DataError: The evaluation set cannot be read.
    """
    if model is not None and max_length is None:
        raise UsageError(
            "--model needs --max-length",
            why="Its tokenizer is for counting which texts have more tokens than that.",
        )
    values = {"--max-length": max_length, "--model": model, "--against": against}
    flags = [part for flag, value in values.items() if value for part in (flag, str(value))]
    return replace(
        CheckedRows.of(rows),
        flags=(*rows.flags, *flags),
        cap=_cap(max_length, model, rows) if max_length else None,
        against=evaluation_rows(against) if against else (),
    )


def _cap(tokens: int, model: str | None, rows: DataRows) -> TokenCap:
    """The token limit. Without a model, tokens are estimated from bytes.

    "7B" names a size only, so it has no tokenizer. Turns of conversations are counted without
    a chat template.
    """
    facts = model_facts(ModelSpec(id=model or "7B"))
    counter = token_counter(facts, code=rows.task == "code", conversations=False)
    return TokenCap(tokens, counter.count, counter.how)


def requested_remedies(names: list[str], all_safe: bool) -> list[FaultKind]:
    """The kinds whose remedies ``--remedy`` names; none with ``--all-safe`` alone.

    Raises:
        UsageError: No remedy is requested, or one does not exist.
    """
    if not names and not all_safe:
        raise UsageError(
            "no remedy was named",
            fix="Give --all-safe, or --remedy with some of "
            f"{', '.join(name for name, kind in kinds().items() if kind.has_remedy)}.",
        )
    return kinds_by_name([name for listed in names for name in split_names(listed)], "--remedy")


def write(fixed: Fixed, output: Path) -> None:
    """Write the list of changes, and the rows: a file, or a folder of several files."""
    # ``forms`` has an entry for each file, also for one whose rows were all removed.
    files: dict[str, list[dict[str, object]]] = {path: [] for path in fixed.data.forms}
    for row in fixed.data.rows:
        files[row.path].append(dict(row.fields))
    if len(files) == 1:
        write_rows(output, next(iter(files.values())))
    else:
        with replacing(output) as part:
            part.mkdir()
            for path, rows in files.items():
                write_rows(part / name_in_folder(Path(path)), rows)
    write_text(changes_path(output), change_list(fixed.changes))


class AppliedRemedy(Record):
    """The number of rows that a remedy changed or removed."""

    remedy: str
    action: str
    rows: int


class FixedFiles(Record):
    """The result of ``data fix``; ``output`` and ``changes`` are None if nothing is written."""

    output: str | None
    changes: str | None
    rows: int
    remedies: tuple[AppliedRemedy, ...]


def summary(fixed: Fixed, output: Path | None) -> FixedFiles:
    return FixedFiles(
        output=str(output) if output else None,
        changes=str(changes_path(output)) if output else None,
        rows=len(fixed.data.rows),
        remedies=tuple(
            AppliedRemedy(remedy=remedy, action=action, rows=count)
            for (remedy, action), count in count_changes(fixed.changes).items()
        ),
    )
