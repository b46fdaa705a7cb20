"""One trial from its configuration to its result.

The failures that training can bring about become results here; anything else is a bug and passes.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeper.errors import SweeperError
from sweeper.strategies.discovery import strategy as strategy_named
from sweeper.training.loop.out_of_memory import Batching, MemoryGuard, TooLarge, TrialPhase
from sweeper.training.loop.progress import TrainingDiverged
from sweeper.training.trial.closed_form import fit_head
from sweeper.training.trial.gradient import read_corpus, train_once
from sweeper.training.trial.job import TrialJob
from sweeper.training.trial.ranks import TRAINER_LOG, Ranks, train_in_ranks
from sweeper.trials import TrialResult

_LOGGERS = ("sweeper", "transformers", "peft", "accelerate", "py.warnings")


def train_trial(job: TrialJob, guard: MemoryGuard) -> TrialResult:
    """Train and score one trial.

    Args:
        guard: Knows which micro-batches fitted before.

    Raises:
        Interrupted: It was told to stop.
    """
    with trial_log(job.folder / TRAINER_LOG) as log:
        log.info("%s %s", job.config.strategy, job.config.parameters)
        try:
            result = _train(job, guard)
        except TrainingDiverged as error:
            result = job.failed("diverged", str(error))
        except TooLarge as error:
            result = job.failed("out-of-memory", str(error), error.needed_gib, error.had_gib)
        except SweeperError as error:
            result = job.failed("refused", str(error))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            result = job.failed("disk-full", str(error))
        log.info("%s %s", result.state, result.failure or result.metrics)
        return result


def _train(job: TrialJob, guard: MemoryGuard) -> TrialResult:
    strategy = strategy_named(job.config.strategy)
    if not strategy.gradient_trained:
        return fit_head(job, strategy)
    job.open_checkpoint()
    if job.ranks is not None:
        return _together(job, job.ranks, guard)

    def attempt(batching: Batching, phase: TrialPhase) -> TrialResult:
        saved, job.saved = job.saved, None  # for the first try alone
        return train_once(job, strategy, batching, phase, saved)

    first = job.saved.batching if job.saved else None
    return guard.run(job.config.memory_setup(), job.batching, attempt, first)


def _together(job: TrialJob, ranks: Ranks, guard: MemoryGuard) -> TrialResult:
    """Train on several devices; this process prepares their start."""
    read_corpus(job)
    job.shared.first_stages.forget()
    job.context.keeper.forget()
    ranks.saved = job.saved
    result = train_in_ranks(ranks, guard, job.config.memory_setup())
    return result.model_copy(update={"first_stage": job.first_stage})


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
        yield logging.getLogger("sweeper.training.trial.run")
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
        logging.captureWarnings(False)
        own.setLevel(level)
        handler.close()
