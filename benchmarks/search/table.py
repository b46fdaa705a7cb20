"""A task's recorded trials as one compact table: how they are packed, and how they are read.

A table is a ``.npz`` with item losses in few bits, and the frozen plan beside it. Knows nothing
of methods.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweeper.plans import Plan
from sweeper.spec import Scalar

Floats = NDArray[np.float64]

# The strategy whose trial is the probe.
HEAD = "head"
# Beside the trials of a recorder's folder: the base model as it is.
BASE_FILE = "base.npz"
TABLES = Path(__file__).parent / "tables"
# Item losses below the last rung are kept in one byte, as logarithms between these bounds: steps
# of 7%, which average out over the items.
LOWEST, HIGHEST = 1e-6, 60.0
# Of each trial one number a rung.
_LINES = ("steps", "training_seconds", "evaluation_seconds", "cpu_seconds")
_PER_STEP = (np.log(HIGHEST) - np.log(LOWEST)) / 255


@dataclass(frozen=True)
class Recorded:
    """One recorded trial.

    Args:
        index: Of the design.
        items: Loss of each validation item scored at each rung below the last; shape
            ``(rungs reached, items)``.
        final: Loss of each validation item at the end; empty where the trial failed.
        steps: Optimizer steps at each rung.
        training_seconds: CPU seconds of training up to each rung.
        evaluation_seconds: CPU seconds of evaluation up to each rung.
        machine: Where it was recorded.
    """

    index: int
    strategy: str
    parameters: dict[str, Scalar]
    seed: int
    state: str
    failure: str | None
    metrics: dict[str, float]
    items: Floats
    final: Floats
    steps: Floats
    training_seconds: Floats
    evaluation_seconds: Floats
    machine: str

    @property
    def complete(self) -> bool:
        """Whether it was trained to the end."""
        return self.state == "COMPLETE"

    @cached_property
    def loss(self) -> float:
        """Validation loss; infinite where it failed."""
        return float(self.final.mean()) if self.complete else np.inf


@dataclass(frozen=True)
class Baseline:
    """An untrained model: the loss of each validation item, and CPU seconds to know it."""

    final: Floats
    seconds: float


@dataclass(frozen=True)
class Table:
    """All recorded trials of one task, with its plan.

    Args:
        name: Of the task.
        plan: Its frozen plan.
        trials: Of the plan's strategies.
        probe: A linear head on the frozen base, where the plan leaves it to the baselines.
        base: The base model as it is, where texts are written.
    """

    name: str
    plan: Plan
    trials: tuple[Recorded, ...]
    probe: Baseline | None = None
    base: Baseline | None = None

    def of(self, strategy: str) -> list[Recorded]:
        """The trials of one strategy."""
        return [one for one in self.trials if one.strategy == strategy]

    def only(self, strategies: Sequence[str]) -> Table:
        """As if nothing else had been asked for."""
        kept = tuple(one for one in self.plan.candidates if one.strategy in strategies)
        plan = self.plan.model_copy(update={"candidates": kept})
        trials = tuple(one for one in self.trials if one.strategy in strategies)
        left_out = [one for one in self.of(HEAD) if HEAD not in strategies and one.complete]
        probes = [Baseline(one.final, float(one.training_seconds[-1])) for one in left_out]
        return Table(self.name, plan, trials, next(iter(probes), None), self.base)

    @property
    def rungs(self) -> int:
        """How often a trial reports."""
        return self.plan.budget.rungs


def pack(folder: Path, name: str, to: Path) -> int:
    """Pack the trials of a recorder's folder into a table; returns how many."""
    files = sorted((folder / "trials").glob("*.npz"))
    trials = [_read_trial(file) for file in files]
    # Where things lay is nobody's business.
    text = (folder / "plan.json").read_text(encoding="utf-8").replace(f"{folder.parent}/", "")
    plan = json.loads(text)
    plan["facts"]["data"]["path"] = name
    for model in plan["facts"]["models"]:
        model["folder"] = None
    told = {"trials": [trial["told"] for trial in trials], "plan": plan}
    arrays: dict[str, Any] = {}
    if (folder / BASE_FILE).is_file():
        base = _read_trial(folder / BASE_FILE)
        told["base"], arrays["base"] = base["told"], base["final"].astype(np.float16)
    arrays["told"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    for key in _LINES:
        arrays[key] = _padded([trial[key] for trial in trials]).astype(np.float32)
    arrays["rungs"] = _coded([trial["rungs"] for trial in trials])
    arrays["final"] = _padded([trial["final"] for trial in trials]).astype(np.float16)
    to.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(to / f"{name}.npz", **arrays)
    return len(trials)


def unpack(name: str, folder: Path, tables: Path = TABLES) -> int:
    """Make a recorder's folder of a table, so that recording can go on; returns how many trials.

    Packed again, they are what they were. Trials that the folder has already are left alone.
    """
    with np.load(tables / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    told = json.loads(arrays["told"].tobytes())
    trials = folder / "trials"
    trials.mkdir(parents=True, exist_ok=True)
    plan = folder / "plan.json"
    if not plan.is_file():
        Plan.model_validate(told["plan"]).write(plan)
    if "base" in told and not (folder / BASE_FILE).is_file():
        write_trial(folder / BASE_FILE, told["base"], {"final": arrays["base"]})
    losses = decoded(arrays["rungs"])
    for row, fields in enumerate(told["trials"]):
        file = trials / f"{fields['index']:04d}.npz"
        if file.is_file():
            continue
        lines = {key: arrays[key][row] for key in (*_LINES, "final")}
        kept: dict[str, Any] = {key: line[~np.isnan(line)] for key, line in lines.items()}
        reached = ~np.isnan(losses[row]).any(axis=1)
        write_trial(file, fields, kept | {"rungs": losses[row][reached]})
    return len(told["trials"])


def write_trial(file: Path, told: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write one recorded trial, so that the file is whole or not there."""
    half = file.with_suffix(f".{os.getpid()}.half")
    with half.open("wb") as open_file:
        text = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
        np.savez_compressed(open_file, told=text, **arrays)
    half.replace(file)


def _read_trial(file: Path) -> dict[str, Any]:
    with np.load(file) as stored:
        arrays = {key: stored[key] for key in stored.files}
    return {**arrays, "told": json.loads(arrays["told"].tobytes())}


def _padded(rows: list[Floats]) -> Floats:
    width = max((len(row) for row in rows), default=0)
    full = np.full((len(rows), width), np.nan)
    for number, row in enumerate(rows):
        full[number, : len(row)] = row
    return full


def _coded(rows: list[Floats]) -> NDArray[np.uint8]:
    # 0 stands for a rung that was not reached.
    depth = max((row.shape[0] for row in rows if row.ndim == 2), default=0)
    width = max((row.shape[1] for row in rows if row.ndim == 2 and row.shape[0]), default=0)
    codes = np.zeros((len(rows), depth, width), dtype=np.uint8)
    for number, row in enumerate(rows):
        if row.ndim == 2 and row.shape[0]:
            logs = np.log(np.clip(row[:, :width], LOWEST, HIGHEST)) - np.log(LOWEST)
            codes[number, : len(row)] = np.clip(np.round(logs / _PER_STEP), 1, 255)
    return codes


def decoded(codes: NDArray[np.uint8]) -> Floats:
    """Losses from their codes; not a number where there were none."""
    losses = np.exp(codes * _PER_STEP + np.log(LOWEST))
    return np.where(codes == 0, np.nan, losses)


def read(name: str, folder: Path = TABLES) -> Table:
    """A packed table by name."""
    with np.load(folder / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    told = json.loads(arrays["told"].tobytes())
    losses = decoded(arrays["rungs"])
    trials = tuple(
        _recorded(fields, arrays, losses, row) for row, fields in enumerate(told["trials"])
    )
    base = None
    if "base" in told:
        base = Baseline(arrays["base"].astype(float), told["base"]["seconds"])
    return Table(name, Plan.model_validate(told["plan"]), trials, base=base)


def _recorded(fields: dict[str, Any], arrays: dict[str, Any], losses: Floats, row: int) -> Recorded:
    def line(key: str) -> Floats:
        values: Floats = arrays[key][row].astype(float)
        return np.asarray(values[~np.isnan(values)])

    training, evaluation, cpu = (
        np.diff(line(f"{key}_seconds"), prepend=0.0) for key in ("training", "evaluation", "cpu")
    )
    share = training / np.maximum(training + evaluation, 1e-9)
    reached = ~np.isnan(losses[row]).any(axis=1)
    return Recorded(
        index=fields["index"],
        strategy=fields["strategy"],
        parameters=fields["parameters"],
        seed=fields["seed"],
        state=fields["state"],
        failure=fields["failure"],
        metrics=fields["metrics"],
        items=losses[row][reached],
        final=line("final"),
        steps=line("steps"),
        training_seconds=np.cumsum(cpu * share),
        evaluation_seconds=np.cumsum(cpu * (1 - share)),
        machine=fields.get("machine", ""),
    )
