"""The option for a data curve."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.features import parts


class Options(parts.Options):
    """trainings on parts of the rows"""

    enabled: Annotated[bool | None, parts.Flag("--data-curve", plan=True, panel="Search")] = Field(
        None,
        description="also train on parts of the rows, to estimate the gain of more rows; to add "
        "this to a run that has ended, give its command again with it; by default if the budget "
        "leaves time, or if it is cheap compared with the search",
    )
