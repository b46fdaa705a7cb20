"""Files whose last write was cut off: read from their copies, or worked out again, and said so.

A killed process leaves whole files (they are replaced in one step); a power cut, a full disk or a
sync tool may not. Knows where copies lie; decides nothing about trials.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from optuna.trial import FrozenTrial

from sweeper.artifact import Artifact
from sweeper.errors import UsageError
from sweeper.execution import records
from sweeper.execution.claims import lease_of
from sweeper.runfolder import RunFolder
from sweeper.search.study import FAILURE
from sweeper.trials import BaselineResult, Failure, TrialConfig, TrialResult

A = TypeVar("A", bound=Artifact)
Say = Callable[[str], None]


def copy_of(path: Path) -> Path:
    """Where the second copy of a file lies that nothing else could bring back."""
    return path.with_name(f".{path.name}.copy")


def write_twice(artifact: Artifact, path: Path) -> None:
    """Write an artifact and its copy; the copy first, so that one of both is always whole."""
    artifact.write(copy_of(path))
    artifact.write(path)


def read_either(kind: type[A], path: Path, say: Say = lambda _text: None) -> A:
    """Read an artifact, from its copy where the file itself is damaged.

    Raises:
        UsageError: Both are damaged or missing.
    """
    try:
        return kind.read(path)
    except UsageError:
        if not copy_of(path).is_file():
            raise
        restored = kind.read(copy_of(path))
    restored.write(path)
    say(f"{path.name} was damaged and has been restored from its copy")
    return restored


def readable(kind: type[A], path: Path) -> A | None:
    """An artifact, or None where the file is missing or damaged."""
    if not path.is_file():
        return None
    try:
        return kind.read(path)
    except UsageError:
        return None


def result_of(run: RunFolder, trial: FrozenTrial, say: Say) -> TrialResult:
    """The result of an ended trial; where its file is damaged, its attempt's copy or the study's.

    Args:
        run: Where the files are.
        trial: As the study has it.
        say: Told of what was repaired.
    """
    target = run.trial(trial.number)
    known = readable(TrialResult, target / records.RESULT)
    if known is not None:
        return known
    attempt = run.attempt(trial.number, lease_of(trial).attempt)
    if readable(TrialResult, attempt / records.RESULT) is not None:
        result = records.promote(target, attempt)
        source = "its attempt's copy"
    else:
        result, source = _from_study(trial, target), "the study, which knows its loss alone"
    if result.weights is not None and not (target / records.WEIGHTS).is_dir():
        result = result.model_copy(update={"weights": None})
    result.write(target / records.RESULT)
    say(f"trial {trial.number}: result.json was damaged and has been restored from {source}")
    return result


def confirmed(folder: Path) -> TrialResult | None:
    """The result of a confirmation run, from its attempt's copy where the file is damaged."""
    known = readable(TrialResult, folder / records.RESULT)
    if known is None and (folder / records.RESULT).exists():
        found = [path for path in (folder / "attempts").glob("*") if path.name.isdecimal()]
        attempts = sorted(found, key=lambda path: int(path.name))
        whole = [one for one in attempts if readable(TrialResult, one / records.RESULT)]
        known = records.promote(folder, whole[-1]) if whole else None
    return known


def baselines(run: RunFolder) -> dict[str, BaselineResult | None]:
    """The models to beat by name; None where the file is damaged."""
    paths = sorted(run.baselines.glob("*.json"))
    return {path.stem: readable(BaselineResult, path) for path in paths}


def damaged_baselines(run: RunFolder) -> list[str]:
    """Names of the models to beat whose files cannot be read."""
    return [name for name, known in baselines(run).items() if known is None]


def cut_half_line(path: Path) -> None:
    """Cut off what a killed process left of a line at the end of a file of lines."""
    if not path.is_file():
        return
    whole = path.read_bytes()
    if not whole.endswith(b"\n"):
        os.truncate(path, whole.rfind(b"\n") + 1)


def _from_study(trial: FrozenTrial, target: Path) -> TrialResult:
    config = readable(TrialConfig, target / records.CONFIG)
    complete = trial.state.name == "COMPLETE"
    rungs = records.read_rungs(target)
    failure = Failure.model_validate(
        {"kind": trial.user_attrs.get(FAILURE, "error"), "detail": "its result file was damaged"}
    )
    return TrialResult.model_validate(
        {
            "number": trial.number,
            "attempt": lease_of(trial).attempt,
            "seed": config.seed if config else 0,
            "state": trial.state.name,
            "failure": failure if trial.state.name == "FAIL" else None,
            "validation_loss": trial.value if complete else None,
            "pruned_at_rung": max(trial.intermediate_values, default=None)
            if trial.state.name == "PRUNED"
            else None,
            "item_losses": records.ITEM_LOSSES
            if complete and (target / records.ITEM_LOSSES).is_file()
            else None,
            "weights": records.WEIGHTS if (target / records.WEIGHTS).is_dir() else None,
            "optimizer_steps": rungs[-1].optimizer_steps if rungs else 0,
            "tokens": rungs[-1].tokens if rungs else 0,
            "training_seconds": rungs[-1].training_seconds if rungs else 0.0,
            "evaluation_seconds": rungs[-1].evaluation_seconds if rungs else 0.0,
        }
    )


def config_of(run: RunFolder, trial: FrozenTrial) -> TrialConfig | None:
    """The configuration of a trial, from its attempt's copy where the file is damaged."""
    path = run.trial(trial.number) / records.CONFIG
    known = readable(TrialConfig, path)
    if known is None:
        attempt = run.attempt(trial.number, lease_of(trial).attempt)
        known = readable(TrialConfig, attempt / records.CONFIG)
        if known is not None:
            known.write(path)
    return known
