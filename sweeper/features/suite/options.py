"""The option for the suite that models are scored on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.features import parts


class Options(parts.Options):
    """scores on tasks that a model was not trained for"""

    path: Annotated[str | None, parts.Flag("--suite", plan=True, panel="Test", is_path=True)] = (
        Field(
            None, description="folder or YAML file of lm-eval tasks for the base and the finalists"
        )
    )
