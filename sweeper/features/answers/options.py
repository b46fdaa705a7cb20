"""The option for files with saved answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.features import parts


class Options(parts.Options):
    """saved answers of models elsewhere, such as a hosted fine-tuned model"""

    files: Annotated[
        tuple[str, ...], parts.Flag("--answers", plan=True, panel="Test", is_path=True)
    ] = Field(
        (),
        description="files with a model's answers to the rows of validation and test; the report "
        "calls the model by the name of its file",
    )
