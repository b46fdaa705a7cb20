"""Faults of a data set, as plans and reports show them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import Field

from sweeper.artifact import Record


class DataFault(Record):
    """Rows with one kind of fault, and what removes it."""

    kind: str
    rows: int
    share: float = Field(
        0.0, description="share of the test items that have it, those that were left out included"
    )
    text: str
    action: str
    where: str = Field("", description="file and line of the first row")

    @property
    def sentence(self) -> str:
        """The text and the action."""
        return f"{self.text}. {self.action}"


def by_kind(faults: Iterable[DataFault]) -> dict[str, Sequence[DataFault]]:
    """The faults of each kind, in the order in which the kinds first occur."""
    groups: dict[str, list[DataFault]] = {}
    for fault in faults:
        groups.setdefault(fault.kind, []).append(fault)
    return dict(groups)
