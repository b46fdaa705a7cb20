"""The type of what ``sweeper plan --rent`` prints."""

from __future__ import annotations

from typing import Any


def answers() -> dict[str, Any]:
    """The type of the ``--json`` output, by command."""
    from sweeper.features.rent._offers import Offers

    return {"plan --rent": Offers}
