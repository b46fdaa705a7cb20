"""sweeper's own backend on a card that holds few rows: its optimizer ends the process.

bitsandbytes does so where the memory of a GPU runs out: it writes a line, and calls ``exit(1)``.
"""

from __future__ import annotations

import os
from typing import Any

from torch.optim import AdamW

from sweeper.backend import Backend
from sweeper.training.torch_backend import make as make_backend

# Rows of the largest micro-batch that fits, by trial.
FITTING = {0: 2}
_TEXT = b"Error out of memory at line 380 in file /src/csrc/pythonInterface.cpp\n"


def make(*args: Any) -> Backend:
    backend = make_backend(*args)
    train, step = backend.train, AdamW.step

    def trained(config: Any, *others: Any, **named: Any) -> Any:
        def dying(optimizer: AdamW, closure: Any = None) -> Any:
            if config.setup.micro_batch > FITTING.get(config.number, config.setup.micro_batch):
                os.write(2, _TEXT)
                os._exit(1)
            return step(optimizer, closure)

        AdamW.step = dying  # type: ignore[method-assign]
        return train(config, *others, **named)

    backend.train = trained  # type: ignore[method-assign]
    return backend
