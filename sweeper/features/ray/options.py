"""The address of the cluster."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.features import parts


class Options(parts.Options):
    """the Ray cluster of search.executor: ray"""

    address: Annotated[str | None, parts.Flag("--ray-address", panel="Search")] = Field(
        None, description="address of a Ray cluster; by default RAY_ADDRESS, or this machine"
    )
