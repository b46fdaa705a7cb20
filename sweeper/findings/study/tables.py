"""The four tables of a study, which the figures of sections start from.

What is not known is missing (NaN or None). Losses are nats unless the study has another unit.

``trials``: a row for each training. That is a trial, then its further seeds, then its trainings
on parts of the rows.

- ``trial``, ``strategy``, ``model``, ``origin``: number and configuration; ``origin`` is
  ``default`` for the rule book's own, ``user`` or ``search``.
- ``seed``, ``rows``: of this training; ``rows`` is missing where it had all of them.
- ``own``: whether it is the trial's own training, which the search saw.
- ``state``: ``COMPLETE``, ``PRUNED`` or ``FAIL``; missing where it has not ended.
- ``validation_loss``, ``objective``, ``cost``: of the weights that were kept; ``cost`` is the
  objective turned so that lower is better, which trials are compared by.
- ``seconds``, ``peak_memory_gib``, ``tokens``, ``optimizer_steps``, ``best_rung``.
- ``measure.NAME``, and ``base_measure.NAME`` of the untrained base.
- ``metric.NAME`` on validation, and ``parameter.NAME``.

``rungs``: a row for each moment at which a trial was scored: ``trial``, ``strategy``, ``rung``
(from 1), ``optimizer_steps``, ``tokens``, ``epochs``, ``validation_loss``, ``train_loss``,
``seconds`` from the start.

``items``: a row for each validation item of each completed training that kept them: ``trial``,
``seed``, ``rows``, ``item`` (place in the split, from 0), ``loss``, ``score`` of the headline
metric, ``weight`` in the mean loss.

``models``: a row for each model that was scored on the test split, for each of its seeds, and for
each other baseline: ``name``, ``title``, ``trial`` (missing for a baseline), ``seed``,
``validation_loss`` of a baseline, ``test_loss``, ``validation.NAME`` and ``test.NAME`` metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from sweeper.findings.study.item_scores import entries, model_title
from sweeper.findings.study.reading import RunFiles, SeedRun, TrialFiles
from sweeper.findings.study.trial_rows import result_seconds

if TYPE_CHECKING:
    import pandas as pd


_OF_RESULT = (
    "state", "validation_loss", "objective", "peak_memory_gib", "tokens", "optimizer_steps",
    "best_rung",
)  # fmt: skip
_OF_RUNG = ("rung", "optimizer_steps", "tokens", "epochs", "validation_loss", "train_loss")
_COLUMNS: dict[str, dict[str, type]] = {
    "trials": {
        "trial": int, "strategy": str, "model": str, "origin": str, "seed": int, "rows": float,
        "own": bool, "state": str, **dict.fromkeys((*_OF_RESULT[1:], "cost", "seconds"), float),
    },
    "rungs": {
        "trial": int, "strategy": str, **dict.fromkeys(_OF_RUNG[:3], int),
        **dict.fromkeys((*_OF_RUNG[3:], "seconds"), float),
    },
    "items": {
        "trial": int, "seed": int, "rows": float, "item": int, "loss": float, "score": float,
        "weight": float,
    },
    "models": {
        "name": str, "title": str,
        **dict.fromkeys(("trial", "seed", "validation_loss", "test_loss"), float),
    },
}  # fmt: skip


@lru_cache(maxsize=1)
def tables_of(run: RunFiles) -> Tables:
    """The tables of a run."""
    return Tables(run)


class Tables:
    """The tables of one run, each made when it is first used."""

    def __init__(self, run: RunFiles) -> None:
        self._run = run

    @cached_property
    def trials(self) -> pd.DataFrame:
        return _frame("trials", (row for trial in self._run.trials for row in _trainings(trial)))

    @cached_property
    def rungs(self) -> pd.DataFrame:
        return _frame("rungs", (row for trial in self._run.trials for row in _rungs(trial)))

    @cached_property
    def items(self) -> pd.DataFrame:
        return _frame("items", (row for trial in self._run.trials for row in _items(trial)))

    @cached_property
    def models(self) -> pd.DataFrame:
        return _frame("models", _models(self._run))


def _frame(name: str, rows: Iterator[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd  # which takes half a second to load

    records, types = list(rows), _COLUMNS[name]
    names = dict.fromkeys([*types, *(key for row in records for key in row)])
    numbers = {column: kind for column, kind in types.items() if kind is not str}
    return pd.DataFrame(records, columns=list(names)).astype(numbers)


def _trainings(trial: TrialFiles) -> Iterator[dict[str, Any]]:
    config, result = trial.config, trial.result
    same = {"trial": config.number, "strategy": config.strategy, "model": config.model}
    same |= {"origin": config.origin}
    parameters = {f"parameter.{name}": value for name, value in config.parameters.items()}
    runs: list[tuple[int, int | None, bool, Any]] = [(config.seed, None, True, result)]
    seeds = [each for each in trial.seeds if each.seed != config.seed]
    runs += [(each.seed, None, False, each.result) for each in seeds]
    runs += [(item.seed, rows, False, item.result) for rows, item in trial.parts]
    for seed, rows, own, of in runs:
        row = {**same, "seed": seed, "rows": rows, "own": own}
        if of is not None:
            row |= {name: getattr(of, name) for name in _OF_RESULT}
            row |= {"objective": trial.objective.measured(of), "seconds": result_seconds(of)}
            row["cost"] = trial.objective.cost_of(of)
            row |= {f"metric.{name}": value for name, value in of.metrics.items()}
            row |= {f"measure.{name}": item.value for name, item in of.measures.items()}
            row |= {f"base_measure.{name}": item.base for name, item in of.measures.items()}
        yield row | parameters


def _rungs(trial: TrialFiles) -> Iterator[dict[str, Any]]:
    for report in trial.rungs:
        yield {
            "trial": trial.config.number,
            "strategy": trial.config.strategy,
            **{name: getattr(report, name) for name in _OF_RUNG},
            "seconds": report.seconds,
        }


def _items(trial: TrialFiles) -> Iterator[dict[str, Any]]:
    runs: list[tuple[int | None, SeedRun]] = [(None, training) for training in trial.trainings()]
    for rows, training in (*runs, *trial.parts):
        if training.items is None:
            continue
        items = training.items
        kept = zip(items.losses, items.scores, items.weights, strict=True)
        for item, (loss, score, weight) in enumerate(kept):
            row = {"trial": trial.config.number, "seed": training.seed, "rows": rows, "item": item}
            yield row | {"loss": loss, "score": score, "weight": weight}


def _models(run: RunFiles) -> Iterator[dict[str, Any]]:
    baselines, scored = {each.name: each for each in run.baselines}, entries(run)
    for name in dict.fromkeys([*scored, *baselines]):
        row: dict[str, Any] = {"name": name, "title": model_title(run, name)}
        if (baseline := baselines.get(name)) is not None:
            row["validation_loss"] = baseline.validation_loss
            row |= {f"validation.{metric}": value for metric, value in baseline.metrics.items()}
        for score in scored.get(name, ()):
            test = {f"test.{metric}": value for metric, value in score.metrics.items()}
            own = {"trial": score.trial, "seed": score.seed, "test_loss": score.loss}
            yield row | own | test
        if name not in scored:
            yield row
