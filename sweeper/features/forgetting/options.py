"""The options for the limit on forgetting, general data, replay and the KL penalty."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from sweeper.artifact import Amount
from sweeper.features import parts


class Options(parts.Options):
    """what a model loses of what its base could do"""

    general: Annotated[
        str | None, parts.Flag("--general", plan=True, panel="Data", commit_in="general_revision")
    ] = Field(None, min_length=1, description="general data, for replay and to measure forgetting")
    general_revision: str | None = Field(None, description="a commit, if general is on the hub")
    max_points: Annotated[
        Amount | None, parts.Flag("--max-forgetting", plan=True, panel="Aim", limit=True)
    ] = Field(
        None,
        description="limit on forgetting: 2 allows 2 points of a score and 0.02 nats per "
        "token of general text. If it is exceeded beyond noise, or nothing was measured, a run "
        "exits with 5",
    )
    replay_share: Annotated[
        float | None,
        parts.Flag(
            "--replay-share", plan=True, identity=True, panel="Aim", parameter="replay_share"
        ),
    ] = Field(None, ge=0, lt=1, description="share of general tokens in training; 0 for none")
    kl_weight: Annotated[
        Amount | None,
        parts.Flag("--kl-weight", plan=True, identity=True, panel="Aim", parameter="kl_weight"),
    ] = Field(None, description="weight of the KL divergence to the base; 0 for none")
