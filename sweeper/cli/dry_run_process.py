"""Asks a process with torch to follow one training step on the meta device, and reads its answer.

Knows nothing of torch itself: the command line never imports it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from sweeper.errors import UsageError
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
        UsageError: The model class cannot be followed, or torch is not installed.
    """
    request = json.dumps({"model": model.model_dump(), "setup": asdict(setup)})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-m", MODULE, "--json"],
        input=request,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UsageError(
            f"the dry run failed: {lines[-1] if lines else 'no message'}",
            fix="The formula's estimate stands without --dry-run.",
            where="--dry-run",
        )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer
