"""Which services a run is logged to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from sweeper.features import parts


class Options(parts.Options):
    """log of a run to MLflow, Weights & Biases or TensorBoard"""

    services: Annotated[
        tuple[Literal["mlflow", "wandb", "tensorboard"], ...], parts.Flag("--track", panel="Search")
    ] = Field((), description="services to log the run to: mlflow, wandb, tensorboard")
