"""What a kind of fault is, and where all of them are found."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import sweeper.features.quality._kinds as folder
from sweeper.data.rows import FileRow
from sweeper.errors import UsageError, near_match
from sweeper.features.quality._checked_rows import CheckedRows
from sweeper.plugins import named_classes

Severity = Literal["serious", "warning", "note"]
Compared = Literal["nothing", "inputs", "labels", "everything"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that has a fault.

    Args:
        row_index: Of the row in ``CheckedRows.rows``.
        detail: What is wrong there, in words. May be empty.
        mends: The remedy changes this row.
    """

    row_index: int
    detail: str = ""
    mends: bool = True


class Kind:
    """One kind of fault: how it is found, by ``find`` or ``wrong``, and how it is mended.

    Attributes:
        name: For flags.
        order: Remedies are applied in this order: what changes texts before what compares them.
        title: What the rows are, for ``Rows that ...``.
        consequence: What the fault does to a training or its scores.
        remedy: What ``sweeper data fix`` does.
        severity: ``serious`` if scores or the model cannot be trusted with it.
        safe: The remedy takes nothing away that could be meant; part of ``--all-safe``.
        mends: There is a remedy.
        uses_model: A model decides which rows have the fault. The remedy changes train alone, since
            validation and test without their hard rows would flatter every model.
        instead_of: The kind whose faults it mends in another way. A check looks for that one alone.
        in_plan: Quick to look for, so that ``sweeper plan`` and ``run`` warn of it, too.
        compares: What it must see of a large data set at once: one row, all rows with the same
            input, all labels, or all rows, of which it gets a sample.
        mended_text: The remedy for each text of a row; None where it is another one.
    """

    name: str
    order: int
    title: str
    consequence: str
    remedy: str
    severity: Severity = "warning"
    safe: bool = False
    mends: bool = True
    uses_model: bool = False
    instead_of: str = ""
    in_plan: bool = False
    compares: Compared = "everything"
    mended_text: Callable[[str], str] | None = None

    def missing(self, data: CheckedRows) -> str:
        """Why this kind cannot be checked; empty if it can."""
        return ""

    def find(self, data: CheckedRows) -> list[Fault]:
        """The rows that have the fault."""
        faults = []
        for index, row in enumerate(data.rows):
            if (detail := self.wrong(data, row)) is not None:
                faults.append(Fault(index, detail, self.mendable(row)))
        return faults

    def wrong(self, data: CheckedRows, row: FileRow) -> str | None:
        """What is wrong with a row, in words that may be empty; None if nothing is.

        For kinds that look at each row alone.
        """
        return None

    def mendable(self, row: FileRow) -> bool:
        """Whether the remedy changes this row, which has the fault."""
        return True

    def mend(self, data: CheckedRows, faults: list[Fault]) -> dict[int, FileRow | None]:
        """From indexes of rows to what becomes of them: see ``mended``."""
        return {fault.row_index: self.mended(data, data.rows[fault.row_index]) for fault in faults}

    def mended(self, data: CheckedRows, row: FileRow) -> FileRow | None:
        """What becomes of a row with the fault: another row, or None where it is left out."""
        return data.with_texts(row, self.mended_text) if self.mended_text else None


def remedies(asked: list[Kind], all_safe: bool, data: CheckedRows, where: str) -> list[Kind]:
    """The remedies that are asked for, in their order.

    Raises:
        UsageError: One of them has no remedy, or cannot be looked for in these rows.
    """
    for kind in asked:
        if why := kind.missing(data) if kind.mends else kind.consequence:
            raise UsageError(
                f"{kind.name} cannot be mended in these rows", why, where=where, code="no-remedy"
            )
    return [kind for kind in kinds().values() if kind in asked or (all_safe and kind.safe)]


@cache
def kinds() -> dict[str, Kind]:
    """All kinds by name, in their order."""
    classes = named_classes(folder, Kind)
    return {kind.name: kind() for kind in sorted(classes, key=lambda kind: (kind.order, kind.name))}


def named(names: Iterable[str], flag: str) -> list[Kind]:
    """The kinds of these names, in their order.

    Raises:
        UsageError: There is no kind of that name.
    """
    by_name = kinds()
    wanted = set(names)
    for name in sorted(wanted - by_name.keys()):
        raise UsageError(
            f"{name!r} is not a kind of fault",
            fix=near_match(name, by_name),
            where=flag,
            code="unknown-fault",
        )
    return [kind for name, kind in by_name.items() if name in wanted]
