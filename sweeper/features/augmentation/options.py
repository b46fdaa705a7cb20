"""The option that names the file of augmented rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.features import parts


class Options(parts.Options):
    """rows made from the training rows; never part of validation or test"""

    path: Annotated[str | None, parts.Flag(is_path=True)] = Field(
        None,
        description="a file that 'sweeper data augment' wrote, or any rows of the task's form; "
        "the search tries training with and without them",
    )
