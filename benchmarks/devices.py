"""The device that measured processes see, and how long they may run."""

from __future__ import annotations

import os

# Seconds after which a measured process is called hung.
LONGEST = 3600.0


def one_gpu() -> dict[str, str]:
    """This process's environment, with the first of its visible GPUs alone."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return os.environ | {"CUDA_VISIBLE_DEVICES": first}
