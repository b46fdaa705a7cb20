"""The options for remedies, and for the choice of train rows."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sweeper.artifact import PositiveInt, Record
from sweeper.features import parts

_IDENTITY = parts.Flag(identity=True)


class Keep(Record):
    """How many of the best train rows to train on."""

    rows: PositiveInt = Field(description="how many, at most")
    by: Literal["label-trust", "spread"] = Field(description="how rows are ranked")


class Options(parts.Options):
    """what is fixed or left out as rows are read; the files stay as they are"""

    all_safe: Annotated[bool, parts.Flag("--fix", plan=True, identity=True, panel="Data")] = Field(
        False,
        description="fix what can be fixed safely while rows are read; the files stay as they are",
    )
    remedies: Annotated[tuple[str, ...], _IDENTITY] = Field(
        (), description="remedies by name, as sweeper data fix"
    )
    keep: Annotated[Keep | None, _IDENTITY] = Field(None, description="train on the best rows only")
