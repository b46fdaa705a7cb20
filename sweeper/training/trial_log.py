"""``trainer.log`` of one attempt: what was trained, each rung, warnings of the libraries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOGGERS = ("sweeper", "transformers", "peft", "accelerate", "py.warnings")


@contextmanager
def trial_log(path: Path) -> Iterator[logging.Logger]:
    """Collect log records of sweeper and its libraries in a file while the trial runs."""
    handler = logging.FileHandler(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    own = logging.getLogger("sweeper")
    level = own.level
    own.setLevel(logging.INFO)
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield logging.getLogger("sweeper.training.trial")
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        logging.captureWarnings(False)
        own.setLevel(level)
        handler.close()
