"""A task's recorded trials as one compact table: how they are written and read.

A table is a ``.npz`` with item losses in few bits and the plan that the trials were recorded with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sweeper.plans import Plan
from sweeper.spec import Scalar
from sweeper.textfiles import replacing

Floats = NDArray[np.float64]

# The strategy whose trial is the probe.
HEAD = "head"
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


class StoredTrial(NamedTuple):
    """One trial as a table holds it: its fields, and its arrays by name."""

    fields: dict[str, Any]
    arrays: dict[str, Any]


class StoredTable(NamedTuple):
    """The plan as JSON, all trials, and the base model as it is, where texts are written."""

    plan: dict[str, Any]
    trials: list[StoredTrial]
    base: StoredTrial | None = None


def write(file: Path, stored: StoredTable) -> None:
    """Write a table, so that the file is whole or not there."""
    trials, base = stored.trials, stored.base
    told: dict[str, Any] = {"trials": [one.fields for one in trials], "plan": stored.plan}
    arrays: dict[str, Any] = {}
    if base is not None:
        told["base"], arrays["base"] = base.fields, base.arrays["final"].astype(np.float16)
    arrays["told"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)
    for key in _LINES:
        arrays[key] = _padded([one.arrays[key] for one in trials]).astype(np.float32)
    arrays["rungs"] = _coded([one.arrays["rungs"] for one in trials])
    arrays["final"] = _padded([one.arrays["final"] for one in trials]).astype(np.float16)
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part, part.open("wb") as opened:
        np.savez_compressed(opened, **arrays)


def read_stored(file: Path) -> StoredTable:
    """A table as it was written; item losses of rungs within a byte, others in half precision."""
    with np.load(file) as opened:
        arrays = {key: opened[key] for key in opened.files}
    told = json.loads(arrays["told"].tobytes())
    losses = decoded(arrays["rungs"])
    trials = []
    for row, fields in enumerate(told["trials"]):
        lines = {key: arrays[key][row].astype(float) for key in (*_LINES, "final")}
        kept: dict[str, Any] = {key: line[~np.isnan(line)] for key, line in lines.items()}
        reached = ~np.isnan(losses[row]).any(axis=1)
        trials.append(StoredTrial(fields, kept | {"rungs": losses[row][reached]}))
    base = None
    if "base" in told:
        base = StoredTrial(told["base"], {"final": arrays["base"].astype(float)})
    return StoredTable(told["plan"], trials, base)


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
    """A table by name."""
    stored = read_stored(folder / f"{name}.npz")
    base = stored.base and Baseline(stored.base.arrays["final"], stored.base.fields["seconds"])
    trials = tuple(_recorded(*one) for one in stored.trials)
    return Table(name, Plan.model_validate(stored.plan), trials, base=base)


def _recorded(fields: dict[str, Any], arrays: dict[str, Any]) -> Recorded:
    training, evaluation, cpu = (
        np.diff(arrays[f"{key}_seconds"], prepend=0.0) for key in ("training", "evaluation", "cpu")
    )
    share = training / np.maximum(training + evaluation, 1e-9)
    return Recorded(
        index=fields["index"],
        strategy=fields["strategy"],
        parameters=fields["parameters"],
        seed=fields["seed"],
        state=fields["state"],
        items=arrays["rungs"],
        final=arrays["final"],
        steps=arrays["steps"],
        training_seconds=np.cumsum(cpu * share),
        evaluation_seconds=np.cumsum(cpu * (1 - share)),
        machine=fields.get("machine", ""),
    )
