"""Runs the dry run of a training step in a process with torch, and reads its answer.

Knows nothing of torch itself: the command line never imports it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from sweeper.child_process import NoAnswer, ask_object
from sweeper.errors import UsageError
from sweeper.extras import TRAINING, require
from sweeper.facts.record import ModelFacts
from sweeper.memory.setup import Setup

MODULE = "sweeper.training.dryrun"
#: A dry run takes seconds; a model with hundreds of layers may take a minute.
_TIMEOUT_SECONDS = 600


def dry_run(model: ModelFacts, setup: Setup) -> dict[str, Any]:
    """Peak of all tensors in one step of the real model class, adapter and optimizer.

    Returns:
        ``peak_gib``, ``phase``, ``parts`` (GiB by kind at the peak), ``trainable_parameters`` and
        ``seconds``.

    Raises:
        UsageError: The model class cannot be followed.
        NotInstalled: What it trains with is missing.
    """
    require("A dry run", TRAINING)
    request = json.dumps({"model": model.model_dump(), "setup": asdict(setup)})
    try:
        answer = ask_object(MODULE, request, seconds=_TIMEOUT_SECONDS, threads=1)
    except NoAnswer as error:
        raise UsageError(
            f"the dry run failed: {error}",
            fix="The formula's estimate stands without --dry-run.",
            where="--dry-run",
        ) from error
    return answer
