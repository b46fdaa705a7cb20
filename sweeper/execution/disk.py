"""Disk space: what a run will need, how much is free, and which errors mean a full disk."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeper import units
from sweeper.cache import home
from sweeper.errors import NO_SPACE, RunError
from sweeper.plans import Candidate, Plan
from sweeper.training.checkpoints import LONG_TRIAL_SECONDS, checkpoint_bytes

# A run stops when less than this is free, so that it can still write its files other than weights:
# study, logs, status, report. They took 0.5 MiB for 8 trials, so this is enough for about 500.
RESERVE_BYTES = 32 * 1024**2

_DISK_FULL_TEXTS = ("disk is full", "no space left", "quota exceeded")


class NoRoom(Exception):
    """The disk is full or nearly full, through no fault of the trial."""


def no_room(error: BaseException | None) -> bool:
    """Whether an error or one of its causes means that the disk is full."""
    while error is not None:
        if isinstance(error, NoRoom) or (isinstance(error, OSError) and error.errno in NO_SPACE):
            return True
        if any(text in str(error).lower() for text in _DISK_FULL_TEXTS):
            return True
        error = error.__cause__
    return False


def free_bytes(folder: Path) -> int:
    """Free bytes on the folder's disk; fewer if ``SWEEPER_DISK_LIMIT_GIB`` limits the folder."""
    free = shutil.disk_usage(folder).free
    limit = os.environ.get("SWEEPER_DISK_LIMIT_GIB")
    if limit is None:
        return free
    return min(free, max(0, int(float(limit) * units.GIB) - sum(_sizes(folder))))


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes of each file in a folder; files that workers delete meanwhile are skipped."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                yield Path(parent, name).stat().st_size


def full_error(folder: Path, needed: int = RESERVE_BYTES) -> RunError:
    """The error that ends a run whose disk is full."""
    try:
        free = units.size(free_bytes(folder))
    except OSError:
        free = "an unknown amount"
    return RunError(
        f"the disk has no room left: {free} free, {units.size(needed)} needed",
        why="The trials under way could not keep their weights; all that has ended is kept.",
        fix="Free some space, then give the same command again: it resumes.",
        where=str(folder),
    )


def weights_bytes(candidate: Candidate) -> int:
    """Bytes of the kept weights of one trial."""
    return candidate.trainable_parameters * _bytes_per_weight(candidate)


def _bytes_per_weight(candidate: Candidate) -> int:
    return 2 if candidate.setup.precision == "bf16-pure" else 4


def _in_flight_bytes(candidate: Candidate) -> int:
    """Maximum bytes of a running trial: its weights, and two checkpoints if it saves them.

    The earlier checkpoint is deleted once the later one is complete.
    """
    if candidate.duration.seconds <= LONG_TRIAL_SECONDS:
        return weights_bytes(candidate)
    trained, optimizer = candidate.trainable_parameters, candidate.setup.optimizer
    return weights_bytes(candidate) + 2 * checkpoint_bytes(
        trained, _bytes_per_weight(candidate), optimizer
    )


@dataclass(frozen=True)
class DiskBudget:
    """The maximum bytes that a run's weights take at once.

    Args:
        kept: Weights that the search keeps.
        confirmation: Weights of confirmation runs.
        in_flight: Weights and checkpoints of running trials.
        bases: Base models that a ``Stage`` trains before trials (continued pretraining), in the
            cache of all runs.
        base_copies: The run's own copies of the bases on which its kept adapters were trained. If
            cache and run are on one file system, copies are links and take no space.
    """

    kept: int
    confirmation: int
    in_flight: int
    bases: int = 0
    base_copies: int = 0

    @property
    def weights(self) -> int:
        """Bytes of the weights of trials, with a reserve."""
        return self.kept + self.confirmation + self.in_flight + RESERVE_BYTES

    @property
    def least(self) -> int:
        """Bytes that must stay free so that the running trials can be completed."""
        return self.in_flight + RESERVE_BYTES

    def sentence(self, folder: Path) -> str:
        """A sentence on the space that the run needs and whether it is free."""
        one_disk = _on_one_disk(folder, home())
        needed = self.weights + (self.bases if one_disk else self.base_copies)
        free = free_bytes(folder)
        text = f"weights need up to {units.size(needed)} of disk, {units.size(free)} are free"
        short = free < needed
        if self.bases and one_disk:
            text += f"; {units.size(self.bases)} of it for bases that are made before trials"
        elif self.bases:
            free_in_cache = shutil.disk_usage(_nearest_existing(home())).free
            text += f"; bases that are made before trials need up to {units.size(self.bases)} in "
            text += f"{home()}, {units.size(free_in_cache)} are free"
            short |= free_in_cache < self.bases
        if short:
            text += "; the run ends before the disk is full"
        return text


def disk_budget(plan: Plan, workers: int) -> DiskBudget:
    """The disk budget of a plan.

    A run keeps the weights of each candidate's default and best trial, and of the finalists. It
    keeps all bases that trials may ask for, at most one for each trial.
    """
    sizes = [weights_bytes(candidate) for candidate in plan.candidates]
    largest, budget = max(sizes), plan.budget
    bases = _base_sizes(plan)[: budget.trials]
    kept_trials = 2 * len(sizes) + budget.finalists
    # The first of the seeds is that of the finalist's own training.
    further_seeds = max(0, budget.confirmation_seeds + budget.extra_seeds - 1)
    return DiskBudget(
        kept=2 * sum(sizes) + budget.finalists * largest,
        confirmation=budget.finalists * further_seeds * largest,
        in_flight=workers * max(map(_in_flight_bytes, plan.candidates)),
        bases=sum(bases),
        base_copies=sum(bases[:kept_trials]),
    )


def _base_sizes(plan: Plan) -> list[int]:
    """Bytes of each base that a trial of the plan may ask for, largest first.

    A trial of the user that switches a stage on may need a base of its own, which is counted with
    the size of the largest one.
    """
    staged = [(each, stage) for each in plan.candidates for stage in each.stages.values()]
    sizes = {name: stage.base_bytes for _, stage in staged for name in stage.bases}
    off_values = {
        stage.parameter: each.parameters[stage.parameter].off_value for each, stage in staged
    }
    own_base_count = sum(
        any(trial.parameters.get(name, value) != value for name, value in off_values.items())
        for trial in plan.own_trials
    )
    return sorted(
        [*sizes.values(), *[max(sizes.values(), default=0)] * own_base_count], reverse=True
    )


def _on_one_disk(folder: Path, other: Path) -> bool:
    return _nearest_existing(folder).stat().st_dev == _nearest_existing(other).stat().st_dev


def _nearest_existing(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
