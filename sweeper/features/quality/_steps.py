"""The steps of ``sweeper data fix`` and of the page of ``sweeper data check``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sweeper.artifact import Record, replacing, write_text
from sweeper.data.changes import change_list, count_changes
from sweeper.data.rows import DataRows
from sweeper.data.write_rows import changes_path, name_in_folder, write_rows
from sweeper.errors import UsageError
from sweeper.facts.dataset.lengths import token_counter
from sweeper.facts.models.model import model_facts
from sweeper.features.quality._checked_rows import CheckedRows, TokenCap, evaluation_rows
from sweeper.features.quality._fix import Fixed
from sweeper.features.quality._kinds.base import FaultKind, kinds, kinds_by_name
from sweeper.spec import ModelSpec
from sweeper.spec import names as split_names


def rows_to_check(
    rows: DataRows, max_length: int | None, model: str | None, against: str | None
) -> CheckedRows:
    """The rows with what flags say to check them against: a token limit, an evaluation set.

    Raises:
        UsageError: A model is named without a length.
        DataError: The evaluation set cannot be read.
    """
    if model is not None and max_length is None:
        raise UsageError(
            "--model needs --max-length",
            why="Its tokenizer is for counting which texts have more tokens than that.",
        )
    given = {"--max-length": max_length, "--model": model, "--against": against}
    flags = [part for flag, value in given.items() if value for part in (flag, str(value))]
    return replace(
        CheckedRows.of(rows),
        flags=(*rows.flags, *flags),
        cap=_cap(max_length, model, rows) if max_length else None,
        against=evaluation_rows(against) if against else (),
    )


def _cap(tokens: int, model: str | None, rows: DataRows) -> TokenCap:
    facts = model_facts(ModelSpec(id=model or "7B"))
    counter = token_counter(facts, code=rows.task == "code", conversations=False)
    return TokenCap(tokens, counter.count, counter.how)


def asked_remedies(given: list[str], all_safe: bool) -> list[FaultKind]:
    """The kinds whose remedies ``--remedy`` names.

    Raises:
        UsageError: No remedy is asked for, or one does not exist.
    """
    if not given and not all_safe:
        raise UsageError(
            "no remedy was named",
            fix="Give --all-safe, or --remedy with some of "
            f"{', '.join(name for name, kind in kinds().items() if kind.has_remedy)}.",
        )
    return kinds_by_name([name for item in given for name in split_names(item)], "--remedy")


def write(fixed: Fixed, output: Path) -> None:
    """Write the new file, or a folder with one file for each original one, and the changes."""
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
    """How many rows a remedy changed or removed."""

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
    """The result of ``data fix`` for JSON."""
    return FixedFiles(
        output=str(output) if output else None,
        changes=str(changes_path(output)) if output else None,
        rows=len(fixed.data.rows),
        remedies=tuple(
            AppliedRemedy(remedy=remedy, action=action, rows=count)
            for (remedy, action), count in count_changes(fixed.changes).items()
        ),
    )
