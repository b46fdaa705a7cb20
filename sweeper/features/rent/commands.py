"""The type of what ``sweeper plan --rent`` prints."""

from __future__ import annotations

from typing import Any


def answers() -> dict[str, Any]:
    """The type of what the command prints with ``--json``."""
    from sweeper.features.rent._offers import Offers

    return {"plan --rent": Offers}
