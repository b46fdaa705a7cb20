"""The request to compare cards that can be rented, and the user's prices."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict

from sweeper.features import parts


class Options(parts.Options):
    """cards to rent, compared in place of a plan"""

    enabled: Annotated[bool, parts.Flag("--rent", plan=True, panel="Hardware")] = Field(
        False, description="compare cards that can be rented by money, time and quality"
    )
    prices: Annotated[
        tuple[str, ...],
        Strict(strict=False),
        parts.Flag("--rent-price", plan=True, panel="Hardware"),
    ] = Field((), description="your prices of cards for an hour, such as H100=2.1; implies --rent")
