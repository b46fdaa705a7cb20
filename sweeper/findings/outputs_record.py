"""What models answer to single test items, side by side. Only types."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sweeper.artifact import Record

Role = Literal["base", "default", "winner", "runner-up"]
GroupKind = Literal["improved", "worsened", "random", "suspect", "confident"]


class ComparedModel(Record):
    """A model whose answers are shown."""

    role: Role
    name: str = Field(description="as comparisons call it")
    title: str


class ShownAnswer(Record):
    """One model's answer to one item: what it wrote, or the class that it predicted."""

    text: str
    loss: float
    confidence: float | None = Field(None, description="probability of the predicted class")


class ShownItem(Record):
    """One test item with its answers, in the order of the models; None where one wrote none."""

    item: int = Field(description="place in the test split, from 0")
    line: int = Field(description="in its source file, from 1")
    asked: str
    reference: str
    answers: tuple[ShownAnswer | None, ...]


class OutputGroup(Record):
    """Items that were chosen for one reason; ``of`` says how many there are of the kind."""

    kind: GroupKind
    items: tuple[ShownItem, ...]
    of: int


class Outputs(Record):
    """Test items with the answers of the models that the verdict compares."""

    models: tuple[ComparedModel, ...]
    groups: tuple[OutputGroup, ...]
    written: bool = Field(description="answers are texts; else they are classes")
