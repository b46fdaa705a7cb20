"""Batches that fitted after running out of memory, for all workers and jobs of a run.

A lesson follows from the files of an attempt, so that it outlives the command.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.execution.state import attempts
from sweeper.execution.state.attempts import attempt_folder, attempts_of
from sweeper.facts.record import TrainingSetup
from sweeper.memory.setup import step_extra
from sweeper.runfolder import CONFIG, RESULT
from sweeper.trials import TrialConfig, TrialResult

_BATCHES = ("micro_batch", "gradient_accumulation_steps", "evaluation_batch")


@dataclass(frozen=True)
class Lesson:
    """The batches with which a set-up fitted, or is to be tried, after it ran out of memory.

    None: nothing was learned about this batch. ``killed``: no error said so; the system killed the
    worker.
    """

    setup: tuple[Hashable, ...]
    micro: int | None
    evaluation: int | None
    killed: bool = False


def setup_of(config: TrialConfig) -> tuple[Hashable, ...]:
    """What a trial's memory depends on, batches aside."""
    setup = (getattr(config, name) for name in TrainingSetup.model_fields if name not in _BATCHES)
    parameters = map(config.parameters.get, ("r", "target_modules", "modules_to_save"))
    reference = step_extra(config.parameters).reference
    return (config.model, config.strategy, *setup, *parameters, reference)


def after_result(config: TrialConfig, result: TrialResult) -> Lesson | None:
    """What a result says about its set-up; None if it fitted as it was set up."""
    micro = _smaller(result.micro_batch, config.micro_batch)
    evaluation = _smaller(result.evaluation_batch, config.evaluation_batch)
    if micro is None and evaluation is None:
        return None
    return Lesson(setup_of(config), micro, evaluation)


def _smaller(fitted: int | None, tried: int) -> int | None:
    return fitted if fitted is not None and fitted < tried else None


def after_kill(config: TrialConfig) -> Lesson | None:
    """The next try after the system killed the worker: half of both batches.

    Nobody saw which of them was too large. None if both are one example already.
    """
    if config.micro_batch == config.evaluation_batch == 1:
        return None
    micro, evaluation = (
        max(1, size // 2) for size in (config.micro_batch, config.evaluation_batch)
    )
    return Lesson(setup_of(config), micro, evaluation, killed=True)


def lessons_of(home: Path) -> Iterator[Lesson]:
    """The lessons of the attempts of one trial or job."""
    for number in attempts_of(home):
        folder = attempt_folder(home, number)
        config = TrialConfig.read_or_none(folder / CONFIG)
        end = attempts.read_end(folder)
        result = TrialResult.read_or_none(folder / RESULT) if end is None else None
        learned = None
        if config is not None and end is not None and end.kind == "out-of-memory":
            learned = after_kill(config)
        elif config is not None and result is not None:
            learned = after_result(config, result)
        if learned is not None:
            yield learned


@dataclass
class FittedBatches:
    """All lessons of a run, by the name of the trial or job that taught them."""

    _known: dict[str, list[Lesson]] = field(default_factory=dict)

    def read(self, name: str, home: Path) -> None:
        """Read the lessons of a trial's or job's attempts from its files."""
        if learned := list(lessons_of(home)):
            self._known[name] = learned

    def apply(self, config: TrialConfig) -> TrialConfig:
        """The configuration with batches that fitted; the effective batch is unchanged."""
        setup = setup_of(config)
        known = [
            (name, one)
            for name, learned in self._known.items()
            for one in learned
            if one.setup == setup
        ]
        lessons = [one for _, one in known]
        micro = min([config.micro_batch, *(one.micro for one in lessons if one.micro)])
        evaluation = min(
            [config.evaluation_batch, *(one.evaluation for one in lessons if one.evaluation)]
        )
        share = config.micro_batch * config.gradient_accumulation_steps
        micro = next(size for size in range(micro, 0, -1) if share % size == 0)
        changed = [
            f"{name} {new} instead of {old}"
            for name, new, old in (
                ("micro-batch", micro, config.micro_batch),
                ("evaluation batch", evaluation, config.evaluation_batch),
            )
            if new != old
        ]
        if not changed:
            return config
        return config.model_copy(
            update={
                "micro_batch": micro,
                "gradient_accumulation_steps": share // micro,
                "evaluation_batch": evaluation,
                "memory_note": f"{' and '.join(changed)}: {_why(dict(known))}",
            }
        )


def _why(teachers: dict[str, Lesson]) -> str:
    killed = [name for name, one in teachers.items() if one.killed]
    noticed = [name for name, one in teachers.items() if not one.killed]
    said = [f"memory ran out in {', '.join(noticed)}"] if noticed else []
    if killed:
        said.append(f"the system killed {', '.join(killed)} because memory ran out")
    return " and ".join(said)
