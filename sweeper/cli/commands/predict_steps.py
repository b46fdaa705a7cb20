"""The steps of ``sweeper predict``: which weights, which rows, and the process that has torch."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

from sweeper.child_process import quiet_threads
from sweeper.cli.commands.evaluate_steps import recommended
from sweeper.cli.commands.report import find_run
from sweeper.cli.processes.suite_process import end_with
from sweeper.cli.views.work_progress import WorkProgress, told
from sweeper.errors import Problem, SweeperError, UsageError
from sweeper.execution.interruption import Signals
from sweeper.findings.compute import compute
from sweeper.jsontext import object_of
from sweeper.runfolder import RunFolder
from sweeper.use.request import PredictionRequest

WORKER = "sweeper.use"


def weights_of(model: str, trial: int | None) -> Path:
    """The folder of weights that a run or a path names.

    Raises:
        UsageError: There is no such run, trial or folder, or the trial kept no weights.
    """
    for folder in (Path(model), Path(model) / "weights"):
        if (folder / "sweeper.json").is_file():
            if trial is not None:
                raise UsageError("--trial needs a run, and this is one model", where=str(folder))
            return folder
    if Path(model).is_dir() and not (Path(model) / "plan.json").is_file():
        raise UsageError(
            "this folder holds no trained model",
            why="It has neither sweeper.json nor, as a run has, plan.json.",
            fix="Name a run, or weights/ of one of its trials.",
            where=model,
        )
    run = RunFolder(find_run(model))
    try:
        number = recommended(compute(run)) if trial is None else trial
    except UsageError as error:
        raise UsageError(
            "this run has no completed trial",
            fix=f"Wait for the first: 'sweeper show {run.path.name} --follow'.",
            where=str(run.path),
        ) from error
    weights = run.trial(number) / "weights"
    if not (weights / "sweeper.json").is_file():
        raise UsageError(
            f"trial {number} has no weights",
            why="Only the best completed trials keep them.",
            fix=f"See 'sweeper show {run.path.name}' for the trials that completed.",
            where=str(weights),
        )
    return weights


def piped(folder: Path) -> Path:
    """Standard input as a file, under a name that says what it holds."""
    data = sys.stdin.buffer.read()
    start = data.lstrip()[:1]
    suffix = {b"{": ".jsonl", b"[": ".json"}.get(start, ".txt")
    if data[:4] == b"PAR1":
        suffix = ".parquet"
    elif suffix == ".txt":
        suffix = _delimited(data.partition(b"\n")[0].decode("utf-8", "replace"))
    path = folder / f"stdin{suffix}"
    path.write_bytes(data)
    return path


def _delimited(first: str) -> str:
    from sweeper.data.formats.base import known_names

    for sign, suffix in ((",", ".csv"), ("\t", ".tsv")):
        names = [name.strip(' "\r').lower() for name in first.split(sign)]
        if known_names().intersection(names):
            return suffix
    return ".txt"


def ask(request: PredictionRequest, folder: Path, work: WorkProgress) -> int | None:
    """Let the process with the model do the rows that are not done.

    Args:
        request: What to predict.
        folder: Takes the log of the process.
        work: Shows how far it is.

    Returns:
        The signal that ended it, or None if it is done.

    Raises:
        SweeperError: The model or the rows cannot be used, or the process broke.
    """
    log = folder / "predict.log"
    problems: list[Problem] = []
    with log.open("w", encoding="utf-8") as errors, Signals() as signals:
        process = subprocess.Popen(
            [sys.executable, "-m", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **quiet_threads(None)},
        )
        with process:
            threading.Thread(target=end_with, args=(process, signals), daemon=True).start()
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(request.to_json())
                process.stdin.close()
            for line in process.stdout:
                if (state := told(line)) is not None:
                    work(*state)
                    continue
                with contextlib.suppress(ValueError):  # what a library printed
                    problems += [Problem(**fields) for fields in object_of(line)["problems"]]
        work.close()
        if signals.number is not None:
            return signals.number
    if problems:
        kind = UsageError if process.returncode == UsageError.exit_code else SweeperError
        raise kind(problems)
    if process.returncode != 0:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise SweeperError(
            f"the predicting process ended with {process.returncode}",
            why=lines[-1][:300] if lines else "",
        )
    return None


def in_order(part: Path) -> list[str]:
    """The lines of a finished part in the order of the rows."""
    lines = part.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    return sorted(lines, key=lambda line: int(json.loads(line)["row"]))


def shown(line: str) -> str:
    """A prediction for a person: the three likeliest classes, or the text."""
    fields = json.loads(line)
    if "label" not in fields:
        return str(fields["text"])
    likely = list(fields["probabilities"].items())[:3]
    return "  ".join(f"{name} {share:.1%}" for name, share in likely)
