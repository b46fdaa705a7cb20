"""The options for the corpus on which the base is trained before the task."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.artifact import PositiveInt
from sweeper.features import parts


class Options(parts.Options):
    """continued pretraining on a corpus, before the domain task"""

    corpus: Annotated[
        str | None, parts.Flag("--corpus", plan=True, panel="Data", commit_in="corpus_revision")
    ] = Field(
        None,
        min_length=1,
        description="domain task: text to continue pretraining on, besides the data",
    )
    corpus_rows: Annotated[
        PositiveInt | None, parts.Flag("--corpus-rows", plan=True, panel="Data")
    ] = Field(None, description="read at most this many documents of the corpus")
    corpus_revision: str | None = Field(None, description="a commit, if corpus is on the hub")
