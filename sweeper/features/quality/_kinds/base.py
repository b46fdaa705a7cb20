"""The base class of kinds of faults, and the list of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import sweeper.features.quality._kinds as folder
from sweeper.data.rows import FileRow
from sweeper.errors import UsageError, near_match
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.packages import named_classes

Severity = Literal["serious", "warning", "note"]
NeededRows = Literal["single rows", "same input", "labels", "sample"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a row.

    Args:
        row_index: Index of the row in ``CheckedRows.rows``.
        detail: The fault in words; may be empty.
        mendable: Whether the remedy changes this row.
    """

    row_index: int
    detail: str = ""
    mendable: bool = True


class FaultKind:
    """A kind of fault: ``find`` or ``fault_detail`` finds it, ``mend`` fixes it (its remedy).

    Attributes:
        name: Name in flags.
        order: Rank of the remedy, lowest first: texts are changed before they are compared.
        title: The end of a sentence that begins ``Rows that``.
        consequence: Effect of the fault on training or scores.
        remedy: What ``sweeper data fix`` does about it, in the imperative.
        severity: ``serious`` if scores or the model cannot be trusted with it.
        safe: Whether the remedy removes nothing that users may want; part of ``--all-safe``.
        has_remedy: Whether there is a remedy.
        uses_model: Whether a model finds the fault. The remedy changes only train, since scores on
            a test split without its hard rows would be too good.
        instead_of: The kind whose faults this one fixes in another way. Checks find only that kind.
        in_plan: Whether ``sweeper plan`` and ``run`` warn of the fault, since it is quick to find.
        needs: What ``find`` needs at once: single rows, all rows with the same input, all labels,
            or a sample of all rows.
        mended_text: Function that fixes each text of a row; None if texts are not changed.
    """

    name: str
    order: int
    title: str
    consequence: str
    remedy: str
    severity: Severity = "warning"
    safe: bool = False
    has_remedy: bool = True
    uses_model: bool = False
    instead_of: str = ""
    in_plan: bool = False
    needs: NeededRows = "sample"
    mended_text: Callable[[str], str] | None = None

    def why_unchecked(self, data: CheckedRows) -> str:
        """Why this kind cannot be checked; empty if it can."""
        return ""

    def find(self, data: CheckedRows) -> list[Fault]:
        """The rows that have the fault."""
        faults = []
        for index, row in enumerate(data.rows):
            if (detail := self.fault_detail(data, row)) is not None:
                faults.append(Fault(index, detail, self.mendable(row)))
        return faults

    def fault_detail(self, data: CheckedRows, row: FileRow) -> str | None:
        """The fault of a row in words, which may be empty; None if it has none.

        Only for kinds that look at each row alone.
        """
        return None

    def mendable(self, row: FileRow) -> bool:
        """Whether the remedy changes a row with the fault."""
        return True

    def mend(self, data: CheckedRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        """The new rows by index; None for rows that are left out."""
        return {
            fault.row_index: self.mended_row(data, data.rows[fault.row_index]) for fault in faults
        }

    def mended_row(self, data: CheckedRows, row: FileRow) -> FileRow | None:
        """The row that replaces a row with the fault; None if the row is left out."""
        return data.with_texts(row, self.mended_text) if self.mended_text else None


def remedies(
    requested: list[FaultKind], all_safe: bool, data: CheckedRows, where: str
) -> list[FaultKind]:
    """The kinds whose remedies are requested, in the order of remedies.

    Raises:
        UsageError: A kind has no remedy, or cannot be checked in these rows.
    """
    for kind in requested:
        if why := kind.why_unchecked(data) if kind.has_remedy else kind.consequence:
            raise UsageError(
                f"{kind.name} cannot be fixed in these rows", why, where=where, code="no-remedy"
            )
    return [kind for kind in kinds().values() if kind in requested or (all_safe and kind.safe)]


@cache
def kinds() -> dict[str, FaultKind]:
    """All kinds by name, in the order of their remedies."""
    classes = named_classes(folder, FaultKind)
    return {kind.name: kind() for kind in sorted(classes, key=lambda kind: (kind.order, kind.name))}


def kinds_by_name(names: Iterable[str], flag: str) -> list[FaultKind]:
    """The kinds of these names, in the order of their remedies.

    Raises:
        UsageError: There is no kind of that name.
    """
    by_name = kinds()
    wanted_names = set(names)
    for name in sorted(wanted_names - by_name.keys()):
        raise UsageError(
            f"{name!r} is not a kind of fault",
            fix=near_match(name, by_name),
            where=flag,
            code="unknown-fault",
        )
    return [kind for name, kind in by_name.items() if name in wanted_names]
