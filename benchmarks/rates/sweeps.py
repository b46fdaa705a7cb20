"""Published and recorded sweeps of the learning rate: what each rate cost.

Three sources: Tinker's sweeps of LoRA (``quality.json``), the training histories of Apertus
(``apertus.jsonl``), and our own recordings (``benchmarks/search/tables``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import json_lines
from benchmarks.advice.rates import Curve, curves
from benchmarks.advice.records import Record, request_of, strategy_of
from benchmarks.search import table
from benchmarks.search.table import Floats
from sweeper.facts.record import Facts
from sweeper.planning.rulebook.apply_rules import rated_strategies
from sweeper.planning.rulebook.book import RuleBook
from sweeper.planning.rulebook.fact_table import fact_values
from sweeper.spec import ModelSpec, Scalar, Spec

TINKER = "thinking-machines-lab/tinker-cookbook"
APERTUS = "davmels/peft_apertus"
RECORDINGS = "benchmarks/search/tables"
# Decades between two bends of the line through recorded trials, and between two of its points.
_BEND, _GRID = 0.5, 0.05
_RIDGE, _FEWEST = 0.01, 20
# What holds for a model cut to one or two layers says nothing of whole models.
_FEWEST_LAYERS = 6


@dataclass(frozen=True)
class Sweep:
    """The losses of one model, task and strategy over learning rates.

    Args:
        group: Sweeps that differ in the rank alone have the same; it counts once.
        hidden: Width of the model.
        curve: Rates with their losses, rising.
    """

    source: str
    group: str
    strategy: str
    hidden: int
    spec: Spec
    facts: Facts
    curve: Curve

    def planned(self, book: RuleBook) -> float:
        """The default rate of a plan."""
        values = fact_values(self.spec, self.facts, self.facts.models[0])
        return float(
            rated_strategies(book, values)[self.strategy].parameters["learning_rate"].default
        )

    def regret(self, rate: float) -> float:
        """Share of the lowest loss that a rate costs; beyond the swept rates that of the last one.

        What a rate costs there is then at least this much.
        """
        rates = [swept for swept, _ in self.curve.points]
        regret = self.curve.regret(min(max(rate, rates[0]), rates[-1]))
        assert regret is not None
        return regret


def all_sweeps(quality: Sequence[Record]) -> list[Sweep]:
    """The sweeps of every source."""
    return [*_tinker(quality), *_apertus(), *_recorded()]


def _tinker(quality: Sequence[Record]) -> Iterator[Sweep]:
    for curve in curves(quality):
        if curve.record["source"] == TINKER:
            yield _of_record(TINKER, curve.record, curve)


def _apertus() -> Iterator[Sweep]:
    rows = json_lines.read(Path(__file__).with_name("apertus.jsonl"))
    groups: dict[tuple[Any, ...], list[json_lines.Row]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["method"], row["rank"]), []).append(row)
    for of_rank in groups.values():
        record = {**of_rank[0], "task": "Swiss judgments, SFT", "n_train": 7472}
        points = tuple(sorted((row["lr"], row["loss"]) for row in of_rank))
        yield _of_record(APERTUS, record, Curve(record, points))


def _of_record(source: str, record: Record, curve: Curve) -> Sweep:
    spec, facts = request_of(record)
    group = f"{record['model']} {record['method']}"
    hidden = int(record.get("hidden") or 4096)
    return Sweep(source, group, strategy_of(record), hidden, spec, facts, curve)


def _recorded() -> Iterator[Sweep]:
    for path in sorted(table.TABLES.glob("*.npz")):
        recorded = table.read(path.stem)
        facts = recorded.plan.facts
        if facts.models[0].layers < _FEWEST_LAYERS:
            continue
        spec = Spec(task=facts.task, models=(ModelSpec(id=facts.models[0].id),), aim=facts.aim)
        for strategy in ("lora", "full"):
            trials = [trial for trial in recorded.of(strategy) if trial.complete]
            if len(trials) >= _FEWEST:
                curve = Curve({}, _smoothed(trials))
                hidden = facts.models[0].hidden_size
                group = f"{path.stem} {strategy}"
                yield Sweep(RECORDINGS, group, strategy, hidden, spec, facts, curve)


def _smoothed(trials: Sequence[table.Recorded]) -> tuple[tuple[float, float], ...]:
    """The loss over the rate, all other parameters held fixed.

    The logarithm of the loss is a line with a bend each half decade of the rate, plus a linear
    effect of every other parameter. The worst tenth of the trials counts as its best one, or a few
    that diverged would decide.
    """
    losses = np.log([trial.loss for trial in trials])
    losses = np.minimum(losses, np.quantile(losses, 0.9))
    rates = np.log10([float(trial.parameters["learning_rate"]) for trial in trials])
    low, high = np.quantile(rates, (0.02, 0.98))
    others = _others([trial.parameters for trial in trials])
    bends = np.arange(math.ceil(low / _BEND) * _BEND, high, _BEND)

    def columns(at: Floats) -> Floats:
        return np.column_stack([at - rates.mean(), *(np.maximum(at - bend, 0) for bend in bends)])

    design = np.column_stack([np.ones(len(trials)), columns(rates), others])
    ridge = _RIDGE * len(trials) * np.eye(design.shape[1])
    ridge[:2] = 0.0
    weights = np.linalg.solve(design.T @ design + ridge, design.T @ losses)
    grid = np.arange(low, high + _GRID / 2, _GRID)
    fitted = np.exp(columns(grid) @ weights[1 : 2 + len(bends)])
    return tuple(zip((10**grid).tolist(), fitted.tolist(), strict=True))


def _others(parameters: Sequence[Mapping[str, Scalar]]) -> Floats:
    """Every other parameter that was varied, standardised; numbers by their logarithm."""
    columns = []
    for name in sorted({key for values_of in parameters for key in values_of} - {"learning_rate"}):
        values = [values_of.get(name) for values_of in parameters]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            columns.append(np.log1p(np.array(values, dtype=np.float64) * 1e3))
        else:
            kinds = sorted(map(str, set(values)))[1:]
            columns += [np.array([str(v) == kind for v in values], dtype=float) for kind in kinds]
    spread = [(column - column.mean()) / column.std() for column in columns if column.std() > 0]
    return np.column_stack(spread) if spread else np.zeros((len(parameters), 0))
