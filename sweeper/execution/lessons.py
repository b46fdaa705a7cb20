"""What running out of memory taught: which batches fitted, for all workers of the study.

A lesson lies on the trial that learned it, in the study, where every worker sees it before it
sets up the next trial. Knows batches; measures no memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from optuna.trial import FrozenTrial

from sweeper.trials import TrialConfig, TrialResult

FITTED = "sweeper:fitted"


@dataclass(frozen=True)
class Lesson:
    """The batches with which a set-up fitted, or was last tried, after it ran out of memory."""

    setup: str
    micro: int
    evaluation: int


def lesson(config: TrialConfig, result: TrialResult) -> Lesson | None:
    """What a result says about its set-up; None if it fitted as it was set up."""
    micro = result.micro_batch or config.micro_batch
    evaluation = result.evaluation_batch or config.evaluation_batch
    if micro >= config.micro_batch and evaluation >= config.evaluation_batch:
        return None
    return Lesson(config.memory_setup(), micro, evaluation)


def attribute(learned: Lesson) -> dict[str, object]:
    """A lesson as it lies on a trial."""
    return asdict(learned)


def apply(config: TrialConfig, trials: Iterable[FrozenTrial]) -> TrialConfig:
    """The configuration with batches that fitted; the effective batch is what it was."""
    known = {
        trial.number: Lesson(**trial.user_attrs[FITTED])
        for trial in trials
        if FITTED in trial.user_attrs
    }
    here = {number: one for number, one in known.items() if one.setup == config.memory_setup()}
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
    teachers = ", ".join(str(number) for number in sorted(here))
    return config.model_copy(
        update={
            "micro_batch": micro,
            "gradient_accumulation_steps": share // micro,
            "evaluation_batch": evaluation,
            "memory_note": f"{' and '.join(changed)}: memory ran out in trial {teachers}",
        }
    )
