"""The disk space that the weights of a run will need, computed from its plan."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeper.cache import home
from sweeper.checkpoints import checkpoint_bytes
from sweeper.execution.disk import RESERVE_BYTES, free_bytes, size
from sweeper.execution.next_attempt import LONG_TRIAL_SECONDS
from sweeper.hyperparameters import FIRST_STAGE as NAME
from sweeper.hyperparameters import NO_FIRST_STAGE as NONE
from sweeper.plans import Candidate, Parameter, Plan
from sweeper.spec import Scalar

# A base that has read a corpus is written whole and in fp32, whichever way it read.
_STAGE_BYTES = 4


def weights_bytes(candidate: Candidate) -> int:
    """Bytes of the kept weights of one trial."""
    return candidate.trainable_parameters * _width(candidate)


def _width(candidate: Candidate) -> int:
    return 2 if candidate.precision == "bf16-pure" else 4


def _in_flight_bytes(candidate: Candidate) -> int:
    """Most bytes of one trial under way: its weights, and two checkpoints if it is long.

    The earlier checkpoint is deleted once the later one is whole.
    """
    if candidate.duration.seconds <= LONG_TRIAL_SECONDS:
        return weights_bytes(candidate)
    trained, optimizer = candidate.trainable_parameters, candidate.optimizer
    return weights_bytes(candidate) + 2 * checkpoint_bytes(trained, _width(candidate), optimizer)


@dataclass(frozen=True)
class DiskBudget:
    """The most bytes that a run holds at once.

    ``first_stages`` are bases that have read a corpus, which lie in the cache, once for all runs
    that read it alike; ``stage_copies`` those that adapters in the run's folder need there. Where
    cache and run lie on one file system, copies are links and take nothing.
    """

    kept: int
    confirmation: int
    in_flight: int
    first_stages: int = 0
    stage_copies: int = 0

    @property
    def weights(self) -> int:
        """Bytes of the weights of trials, with a reserve."""
        return self.kept + self.confirmation + self.in_flight + RESERVE_BYTES

    @property
    def least(self) -> int:
        """Bytes that must stay free so that the trials under way can be completed."""
        return self.in_flight + RESERVE_BYTES

    def sentence(self, folder: Path) -> str:
        """The space that the run will need, and whether it is free, as a sentence."""
        together = _one_disk(folder, home())
        needed = self.weights + (self.first_stages if together else self.stage_copies)
        free = free_bytes(folder)
        text = f"weights need up to {size(needed)} of disk, {size(free)} are free"
        short = free < needed
        if self.first_stages and together:
            text += f"; {size(self.first_stages)} of it for bases trained on the corpus"
        elif self.first_stages:
            there = shutil.disk_usage(_existing(home())).free
            text += f"; bases trained on the corpus need up to {size(self.first_stages)} in "
            text += f"{home()}, {size(there)} are free"
            short |= there < self.first_stages
        if short:
            text += "; the run ends before the disk is full"
        return text


def disk_budget(plan: Plan, workers: int) -> DiskBudget:
    """The disk budget of a plan: each strategy's default and best trial, and the finalists.

    The weights of all other trials are deleted as soon as they have lost. Bases that have read a
    corpus are kept: no more of them than there are ways to read, or trials.
    """
    sizes = [weights_bytes(candidate) for candidate in plan.candidates]
    largest, budget = max(sizes), plan.budget
    bases = _first_stages(plan)[: budget.trials]
    kept = 2 * len(sizes) + budget.finalists
    return DiskBudget(
        kept=2 * sum(sizes) + budget.finalists * largest,
        confirmation=budget.finalists * max(0, budget.confirmation_seeds - 1) * largest,
        in_flight=workers * max(map(_in_flight_bytes, plan.candidates)),
        first_stages=sum(bases),
        stage_copies=sum(bases[:kept]),
    )


def _first_stages(plan: Plan) -> list[int]:
    """Bytes of each base that a trial of the plan may ask for, largest first."""
    parameters = {model.id: model.parameters for model in plan.facts.models}
    ways = {way for candidate in plan.candidates for way in _ways(candidate)}
    bases = [_STAGE_BYTES * parameters[model] for model, _ in ways]
    own = sum(trial.parameters.get(NAME, NONE) != NONE for trial in plan.own_trials)
    return sorted([*bases, *[max(bases, default=0)] * own], reverse=True)


def _ways(candidate: Candidate) -> Iterator[tuple[str, tuple[Scalar, ...]]]:
    """A candidate's model, and the parameters that distinguish its first stages."""
    stages = {name: one for name, one in candidate.parameters.items() if name.startswith(NAME)}
    for chosen in itertools.product(*map(_values, stages.values())):
        if dict(zip(stages, chosen, strict=True)).get(NAME, NONE) != NONE:
            yield candidate.model, (candidate.precision, candidate.sequence_length, *chosen)


def _values(parameter: Parameter) -> tuple[Scalar, ...]:
    if not parameter.searched:
        return (parameter.default,)
    choices = parameter.allowed
    return tuple(dict.fromkeys([*choices, parameter.default]))


def _one_disk(folder: Path, other: Path) -> bool:
    return _existing(folder).stat().st_dev == _existing(other).stat().st_dev


def _existing(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())
