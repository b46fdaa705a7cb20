"""The record of a folder of trained weights: ``sweeper.json``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from sweeper.artifact import Artifact
from sweeper.facts.record import ModelFacts
from sweeper.plans import Precision
from sweeper.spec import Scalar, Task

RECORD = "sweeper.json"


class TrainedRecord(Artifact):
    """How to put trained weights on a base again.

    ``classes_by`` says how one of the ``labels`` is chosen, where there are any.
    ``first_stage`` names the folder in ``first_stages/`` with the base that an adapter belongs to
    where that had read a corpus first; ``base_model`` is what it was before. ``facts`` are those
    of the base model. Where that is a local folder and is needed, ``base_folder`` is its path, and
    ``base_state`` tells what its files were.
    ``tokenizer`` is the SHA-256 of the tokenizer beside the weights, and ``files`` names all files
    of the folder but card and record. ``data_format`` and
    ``columns`` are those of the data; ``versions`` are of the libraries that trained.
    """

    VERSION: ClassVar[int] = 2

    schema_version: int = 2
    task: Task
    strategy: str
    parameters: dict[str, Scalar]
    base_model: str
    base_revision: str | None = None
    base_dtype: Literal["float32", "bfloat16", "float16"]
    sequence_length: int
    labels: tuple[str, ...] = ()
    classes_by: Literal["head", "generate"] = "head"
    pooling: Literal["mean", "cls", "last"] | None = None
    first_stage: str | None = None
    facts: ModelFacts | None = None
    base_folder: str | None = None
    base_state: str | None = None
    precision: Precision = "fp32"
    system_prompt: str | None = None
    data_format: str = "text-label"
    columns: dict[str, str] = Field(default_factory=dict)
    tokenizer: str | None = None
    files: tuple[str, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)


def record_of(folder: Path) -> TrainedRecord:
    """The record of a weights folder.

    Raises:
        UsageError: It is not one.
    """
    return TrainedRecord.read(folder / RECORD)
