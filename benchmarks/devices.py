"""What measured processes see of the machine, and how long they may run."""

from __future__ import annotations

import os

# Seconds after which a measured process is called hung.
LONGEST = 3600.0
# One thread without spinning, which leaves the other cores to others, and no network.
QUIET = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


def one_gpu() -> dict[str, str]:
    """This process's environment, with the first of its visible GPUs alone."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return os.environ | {"CUDA_VISIBLE_DEVICES": first}
