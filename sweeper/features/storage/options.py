"""The storage to which the study is copied."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.features import parts


class Options(parts.Options):
    """copy of the study for Optuna and its dashboards"""

    url: Annotated[str | None, parts.Flag("--storage", panel="Search", secret_url=True)] = Field(
        None, description="URL of an Optuna storage that gets a copy of study.db when the run ends"
    )
