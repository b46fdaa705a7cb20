"""What running out of memory taught: which batches fitted, for all workers of the study.

A lesson lies on the trial that learned it, in the study, where every worker sees it before it
sets up the next trial. Knows batches; measures no memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from optuna.trial import FrozenTrial

from sweeper.execution.jobs import JOB
from sweeper.trials import TrialConfig, TrialResult

FITTED = "sweeper:fitted"


@dataclass(frozen=True)
class Lesson:
    """The batches with which a set-up fitted, or is to be tried, after it ran out of memory.

    ``killed``: no error said so; the system killed the worker.
    """

    setup: str
    micro: int
    evaluation: int
    killed: bool = False


def lesson(config: TrialConfig, result: TrialResult) -> Lesson | None:
    """What a result says about its set-up; None if it fitted as it was set up."""
    micro = result.micro_batch or config.micro_batch
    evaluation = result.evaluation_batch or config.evaluation_batch
    if micro >= config.micro_batch and evaluation >= config.evaluation_batch:
        return None
    return Lesson(config.memory_setup(), micro, evaluation)


def after_kill(config: TrialConfig) -> Lesson | None:
    """What to try next where the system killed the worker: half of both batches.

    Nobody saw which of them was too large. None if both are one example already.
    """
    if config.micro_batch == config.evaluation_batch == 1:
        return None
    micro, evaluation = (
        max(1, size // 2) for size in (config.micro_batch, config.evaluation_batch)
    )
    return Lesson(config.memory_setup(), micro, evaluation, killed=True)


def attribute(learned: Lesson) -> dict[str, object]:
    """A lesson as it lies on a trial."""
    return asdict(learned)


def apply(config: TrialConfig, trials: Iterable[FrozenTrial]) -> TrialConfig:
    """The configuration with batches that fitted; the effective batch is what it was.

    Args:
        config: As it was set up.
        trials: Trials and jobs, in their order.
    """
    known = {
        _name(trial): Lesson(**trial.user_attrs[FITTED])
        for trial in trials
        if FITTED in trial.user_attrs
    }
    here = {name: one for name, one in known.items() if one.setup == config.memory_setup()}
    micro = min([config.micro_batch, *(one.micro for one in here.values())])
    evaluation = min([config.evaluation_batch, *(one.evaluation for one in here.values())])
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
            "memory_note": f"{' and '.join(changed)}: {_why(here)}",
        }
    )


def _name(trial: FrozenTrial) -> str:
    return (
        str(trial.user_attrs[JOB]["name"]) if JOB in trial.user_attrs else f"trial {trial.number}"
    )


def _why(teachers: Mapping[str, Lesson]) -> str:
    killed = [name for name, one in teachers.items() if one.killed]
    noticed = [name for name, one in teachers.items() if not one.killed]
    said = [f"memory ran out in {', '.join(noticed)}"] if noticed else []
    if killed:
        said.append(f"the system killed {', '.join(killed)} because memory ran out")
    return " and ".join(said)
