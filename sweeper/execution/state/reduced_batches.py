"""Batch sizes that fitted into memory after it ran out, for all workers and jobs of a run.

They are read from the files of attempts, so that they outlive the command.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeper.execution.state import attempts
from sweeper.memory.setup import extra_memory_and_time
from sweeper.runfolder import CONFIG, ENDED, RESULT, RunFolder
from sweeper.trials import TrialConfig, TrialResult

# Fields of a set-up that have batch sizes.
_BATCHES = ("micro_batch", "gradient_accumulation_steps", "evaluation_batch")
# Glob patterns of the home folders of trials, their further seeds, features' trainings and jobs.
_HOMES = ("trials/*", "trials/*/seeds/*", "trials/*/*/*/*", "jobs/*")


@dataclass(frozen=True)
class ReducedBatch:
    """Batch sizes, in examples, that fitted or will be tried next, after memory ran out.

    Args:
        setup: The set-up for which they count, as in ``setup_of``.
        trial: Number of the trial that ran out of memory.
        micro: Size of the micro-batch; None if the planned one may fit.
        evaluation: Size of the evaluation batch; None if the planned one may fit.
        killed: Whether the system killed the worker without an error.
    """

    setup: tuple[Hashable, ...]
    trial: int
    micro: int | None
    evaluation: int | None
    killed: bool = False


def setup_of(config: TrialConfig) -> tuple[Hashable, ...]:
    """The values on which a trial's memory depends, except batches."""
    parameters = map(config.parameters.get, ("r", "target_modules", "modules_to_save"))
    reference = extra_memory_and_time(config.parameters).reference
    return (config.model, config.strategy, config.setup.key(*_BATCHES), *parameters, reference)


def after_result(config: TrialConfig, result: TrialResult) -> ReducedBatch | None:
    """The batches that fitted according to a result; None if these are the planned ones."""
    micro = _smaller(result.micro_batch, config.setup.micro_batch)
    evaluation = _smaller(result.evaluation_batch, config.setup.evaluation_batch)
    if micro is None and evaluation is None:
        return None
    return ReducedBatch(setup_of(config), config.number, micro, evaluation)


def _smaller(fitted: int | None, planned: int) -> int | None:
    return fitted if fitted is not None and fitted < planned else None


def smaller_batches(config: TrialConfig) -> ReducedBatch | None:
    """Half of both batches, to try after the system killed the worker.

    Either may have been too large. None if both are one example.
    """
    if config.setup.micro_batch == config.setup.evaluation_batch == 1:
        return None
    micro, evaluation = (
        max(1, size // 2) for size in (config.setup.micro_batch, config.setup.evaluation_batch)
    )
    return ReducedBatch(setup_of(config), config.number, micro, evaluation, killed=True)


def reduced_batch_of(attempt: Path) -> ReducedBatch | None:
    """The reduced batches after an ended attempt; None if its planned batches fitted."""
    config, end = TrialConfig.read_or_none(attempt / CONFIG), attempts.read_end(attempt)
    if config is None:
        return None
    if end is not None:
        return smaller_batches(config) if end.kind == "out-of-memory" else None
    result = TrialResult.read_or_none(attempt / RESULT)
    return None if result is None else after_result(config, result)


@dataclass
class ReducedBatches:
    """The reduced batches of a run. Each attempt is read once, after its end."""

    run: RunFolder
    _by_attempt: dict[Path, ReducedBatch | None] = field(default_factory=dict)

    def _all(self) -> list[ReducedBatch]:
        for home in _HOMES:
            for folder in self.run.path.glob(f"{home}/attempts/*"):
                ended = (folder / ENDED).exists() or (folder / RESULT).exists()
                if ended and folder not in self._by_attempt:
                    self._by_attempt[folder] = reduced_batch_of(folder)
        return [batch for batch in self._by_attempt.values() if batch is not None]

    def apply(self, config: TrialConfig) -> TrialConfig:
        """The configuration with batches that fitted; the effective batch is unchanged."""
        setup = setup_of(config)
        reduced = [each for each in self._all() if each.setup == setup]
        planned = config.setup
        micro = min([planned.micro_batch, *(each.micro for each in reduced if each.micro)])
        evaluation = min(
            [planned.evaluation_batch, *(each.evaluation for each in reduced if each.evaluation)]
        )
        device_batch = planned.micro_batch * planned.gradient_accumulation_steps
        micro = next(size for size in range(micro, 0, -1) if device_batch % size == 0)
        changed = [
            f"{name} {new} instead of {old}"
            for name, new, old in (
                ("micro-batch", micro, planned.micro_batch),
                ("evaluation batch", evaluation, planned.evaluation_batch),
            )
            if new != old
        ]
        if not changed:
            return config
        batches = dict(zip(_BATCHES, (micro, device_batch // micro, evaluation), strict=True))
        note = f"{' and '.join(changed)}: {_shortage_text(reduced)}"
        return config.with_setup(**batches).model_copy(update={"memory_note": note})


def _shortage_text(reduced: Sequence[ReducedBatch]) -> str:
    """In which trials memory ran out, in words."""
    killed, raised = (
        [
            f"trial {number}"
            for number in sorted({each.trial for each in reduced if each.killed is is_killed})
        ]
        for is_killed in (True, False)
    )
    reasons = [f"memory ran out in {', '.join(raised)}"] if raised else []
    if killed:
        reasons.append(f"the system killed {', '.join(killed)} because memory ran out")
    return " and ".join(reasons)
