"""Lines that cannot be read."""

from __future__ import annotations

from sweeper.data.quality.kinds.base import Fault, Kind
from sweeper.data.quality.rows import DataRows


class Unreadable(Kind):
    """Broken JSON, or more cells than columns."""

    name = "unreadable"
    order = 0
    title = "cannot be read"
    consequence = "They are left out of training."
    remedy = "leaves them out; if they matter, repair them in the original"
    safe = True
    compares = "nothing"

    def find(self, data: DataRows) -> list[Fault]:
        """Lines that the reader of the file gave up on."""
        return [Fault(n, row.reason) for n, row in enumerate(data.rows) if not row.readable]
