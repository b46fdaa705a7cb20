"""The option for a start from earlier sweeps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.features import parts


class Options(parts.Options):
    """what earlier sweeps on similar data found best"""

    enabled: Annotated[bool, parts.Flag("--warm-start", panel="Search")] = Field(
        False,
        description="try the best configurations of earlier sweeps on similar data early (kept in "
        "SWEEPER_HOME)",
    )
