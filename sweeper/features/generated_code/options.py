"""The options for running programs that models write."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.artifact import PositiveInt
from sweeper.features import parts


class Options(parts.Options):
    """programs that models write"""

    allow: Annotated[bool, parts.Flag("--run-generated-code", plan=True, panel="Test")] = Field(
        False,
        description="run code that models write, in a sandbox, against the tests of the data or of "
        "a suite",
    )
    samples: Annotated[PositiveInt, parts.Flag("--code-samples", panel="Test")] = Field(
        1, description="sampled answers to each item for pass@k; one greedy answer if 1"
    )
