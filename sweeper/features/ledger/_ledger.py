"""The scores of all runs, in the cache folder: a folder for each machine, a file for each run.

The files hold no names, texts or paths: strategies and rules of users become ``other``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Literal

from pydantic import Field

from sweeper import __version__
from sweeper.artifact import Artifact, Record
from sweeper.cache import home
from sweeper.errors import UsageError
from sweeper.facts.machine.measured import path_of
from sweeper.facts.record import Facts, HardwareFacts
from sweeper.features.ledger._predictions import DIFFERENCES, LEVEL, Scored
from sweeper.spec import Task

FOLDER = "ledger"
# Stands for a strategy or rule of a user.
OTHER = "other"
# Fewer runs correct nothing. A conformal 90% quantile needs at least nine.
MIN_RUNS = 10
# Largest factor by which the distance of a probability from a half is divided.
MAX_SHRINK_FACTOR = 10.0
# A plan reads at most this many files.
MAX_RUNS_READ = 200
# For each strategy, the points of each run above LoRA, with their standard error.
Gaps = dict[str, tuple[tuple[float, float], ...]]


class LedgerEntry(Artifact):
    """The scores of one run."""

    sweeper_version: str
    device: Literal["cpu", "cuda"]
    task: Task
    model_kind: str = Field("", description="encoder or decoder; empty if both competed")
    train_rows: int
    trials: int
    scored: tuple[Scored, ...]


class KindSummary(Record):
    """The scores of one kind of prediction by one version, on this machine.

    Args:
        judged: Predictions with an outcome.
        stated: Mean probability with which judged predictions should hold; None without any.
        hit_rate: Share of judged predictions that held; None without any.
        clock_hit_rate: ``hit_rate`` if times include those of other programs.
        width: Median width of an interval: high / low of an amount, high - low of a difference.
        widened: Factor by which plans on this machine widen their intervals now.
    """

    kind: str
    version: str
    runs: int
    predictions: int
    judged: int
    held: int
    stated: float | None = None
    hit_rate: float | None = None
    clock_hit_rate: float | None = None
    width: float | None = None
    width_unit: Literal["factor", "points", ""] = ""
    widened: float = 1.0


class Summary(Artifact):
    """The output of ``sweeper ledger --json``."""

    runs: int
    damaged: tuple[str, ...] = Field((), description="files that were left out, and why")
    kinds: tuple[KindSummary, ...] = ()


class Export(Artifact):
    """The output of ``sweeper ledger --export``: the entries of all machines."""

    entries: tuple[LedgerEntry, ...]


def machine_of(hardware: HardwareFacts) -> str:
    """A digest of the GPU's name, or of the processor's name and number of cores."""
    cores = (hardware.cpu_cores or 1) if hardware.device == "cpu" else 0
    return path_of(hardware.name, cores).stem


def add(run: str, facts: Facts, trials: int, scored: Iterable[Scored]) -> None:
    """Keep the scores of a run, unless they are kept already or its hardware was stated.

    Args:
        run: ``Predictions.id`` of the run.
        trials: Number of trials in its plan.

    Raises:
        OSError: The cache folder cannot be written.
    """
    path = home() / FOLDER / machine_of(facts.hardware) / f"{run}.json"
    if path.exists() or not facts.hardware.detected:
        return
    entry = LedgerEntry(
        sweeper_version=__version__,
        device=facts.hardware.device,
        task=facts.task,
        model_kind=_model_kind(facts),
        train_rows=facts.data.train_rows,
        trials=trials,
        scored=tuple(_without_user_names(scored)),
    )
    entry.write(path)


def _model_kind(facts: Facts) -> str:
    """The kind of all models; empty if kinds differ."""
    kinds = {model.kind for model in facts.models}
    return kinds.pop() if len(kinds) == 1 else ""


def _without_user_names(scored: Iterable[Scored]) -> Iterator[Scored]:
    """The scores without names that a user may have given."""
    from sweeper.planning.rulebook.book import rule_book  # asks features for their facts

    book = rule_book()
    rules = {rule.id for rule in book.rules}
    for score in scored:
        strategy, against = score.strategy.strategy, score.against.strategy
        yield score.model_copy(
            update={
                "strategy": strategy if strategy in book.strategies or not strategy else OTHER,
                "against": against if against in book.strategies or not against else OTHER,
                "rule": score.rule if score.rule in rules or not score.rule else OTHER,
            }
        )


def entries(machine: str = "*", most: int | None = None) -> tuple[list[LedgerEntry], list[str]]:
    """The entries that can be read, the newest first, and why others cannot.

    Args:
        machine: Digest of a machine; entries of all machines by default.
        most: Limit on the files that are read; all if None.
    """
    readable, damaged = [], []
    for path in sorted((home() / FOLDER).glob(f"{machine}/*.json"), key=_age)[:most]:
        try:
            readable.append(LedgerEntry.read(path))
        except (OSError, UsageError) as error:
            damaged.append(str(error))
    return readable, damaged


def _age(path: Path) -> float:
    """A sort key that puts new files first."""
    try:
        return -path.stat().st_mtime
    except OSError:  # the file was just deleted, or is a broken link
        return 0.0


def gaps(kept: Sequence[LedgerEntry], task: Task) -> dict[str, Gaps]:
    """The points of strategies above LoRA that runs of a task observed, by kind of model."""
    observed: dict[str, Gaps] = {}
    for entry in kept:
        if entry.task != task or not entry.model_kind:
            continue
        for scored in entry.scored:
            if scored.kind == "strategy-gap" and scored.held is not None:
                by_strategy = observed.setdefault(entry.model_kind, {})
                previous = by_strategy.get(scored.strategy, ())
                by_strategy[scored.strategy] = (*previous, (scored.undisturbed, scored.error))
    return observed


def best_loss(kept: Sequence[LedgerEntry], facts: Facts) -> tuple[float, float, float] | None:
    """The median best loss of runs of this task and kind of model, and its 90% interval.

    All three are shares of the loss of guessing. The interval is that within a factor of the
    median: the conformal quantile of the factors of these runs. None with fewer than ``MIN_RUNS``.
    """
    shares = [
        scored.undisturbed
        for entry in kept
        if entry.task == facts.task and entry.model_kind == _model_kind(facts)
        for scored in entry.scored
        if scored.kind == "best-loss" and scored.observed
    ]
    if len(shares) < MIN_RUNS:
        return None
    median_share = median(shares)
    factor = _quantile([max(share / median_share, median_share / share) for share in shares], LEVEL)
    assert factor is not None
    return round(median_share, 4), round(median_share / factor, 4), round(median_share * factor, 4)


def factors(kept: Sequence[LedgerEntry], version: str = __version__) -> dict[str, float]:
    """The factors on intervals with which the stated share would have held, by prediction.

    Only factors above 1, of kinds that enough runs of this version have judged. There is none for
    the best loss, which ``best_loss`` corrects.
    """
    # By prediction, for each run: its number, the needed factor and the level of the interval; for
    # an event its number, the certainty that the plan had before it was corrected, and the outcome.
    needs: dict[str, list[tuple[int, float, float]]] = {}
    events: dict[str, list[tuple[int, float, bool]]] = {}
    for run, entry in enumerate(entry for entry in kept if entry.sweeper_version == version):
        for scored in entry.scored:
            if scored.unit == "probability" and scored.held is not None:
                certainty = scored.widened * (scored.stated - 0.5)
                events.setdefault(scored.kind, []).append((run, certainty, scored.held))
            for name, need, level in _needs(scored):
                needs.setdefault(name, []).append((run, need, level))
    factor_by_name = {
        name: _quantile([need for _, need, _ in judged], fmean(level for *_, level in judged))
        for name, judged in needs.items()
        if _has_enough_runs(judged)
    }
    factor_by_name |= {
        name: _overconfidence(
            [certainty for _, certainty, _ in judged], [held for *_, held in judged]
        )
        for name, judged in events.items()
        if _has_enough_runs(judged)
    }
    return {
        name: round(factor, 2) for name, factor in factor_by_name.items() if factor and factor > 1
    }


def _needs(scored: Scored) -> Iterator[tuple[str, float, float]]:
    """Name, needed factor and level of each interval of a prediction; memory has one an end."""
    if scored.need is None or scored.kind == "best-loss":
        return
    if scored.kind != "memory":
        yield scored.kind, scored.need, scored.stated
        return
    # Otherwise trials that need less memory than predicted would raise the upper end, too.
    for name, need in zip(("memory-low", "memory-high"), scored.needs_of_ends, strict=True):
        yield name, need, (1 + scored.stated) / 2


def _has_enough_runs(judged: Sequence[tuple[int, float, object]]) -> bool:
    return len({run for run, *_ in judged}) >= MIN_RUNS


def _quantile(needs: Sequence[float], level: float) -> float | None:
    """The conformal quantile of needed factors; None if they are too few for the level."""
    rank = math.ceil((len(needs) + 1) * level)
    return sorted(needs)[rank - 1] if rank <= len(needs) else None


def _overconfidence(certainties: Sequence[float], held: Sequence[bool]) -> float:
    """The factor by which stated probabilities were further from a half than the hit rate was.

    Args:
        certainties: Distances of the stated probabilities from a half.
    """
    hit_margin = fmean(held) - 0.5
    stated_margin = fmean(certainties)
    return (
        stated_margin / hit_margin
        if hit_margin > stated_margin / MAX_SHRINK_FACTOR
        else MAX_SHRINK_FACTOR
    )


def summary(kept: Sequence[LedgerEntry], damaged: Sequence[str]) -> Summary:
    """The summary of every kind of prediction, by version.

    Args:
        damaged: Why files could not be read.
    """
    by_kind: dict[tuple[str, str], dict[int, list[Scored]]] = {}
    for run, entry in enumerate(kept):
        for scored in entry.scored:
            by_run = by_kind.setdefault((scored.kind, entry.sweeper_version), {})
            by_run.setdefault(run, []).append(scored)
    widening = factors(kept)
    kinds = tuple(
        _summary_of(kind, version, runs, widening if version == __version__ else {})
        for (kind, version), runs in sorted(by_kind.items())
    )
    return Summary(runs=len(kept), damaged=tuple(damaged), kinds=kinds)


def _summary_of(
    kind: str, version: str, runs: Mapping[int, Sequence[Scored]], widening: Mapping[str, float]
) -> KindSummary:
    scored = [score for run_scores in runs.values() for score in run_scores]
    judged = [score for score in scored if score.held is not None]
    held = sum(bool(score.held) for score in judged)
    points = any(score.unit in DIFFERENCES for score in scored)
    ends = [(s.low, s.high) for s in scored if s.low is not None and s.high is not None]
    widths = [high - low if points else high / low for low, high in ends if points or low > 0]
    held_on_clock = [_held_on_the_clock(score) for score in judged]
    return KindSummary(
        kind=kind,
        version=version,
        runs=len(runs),
        predictions=len(scored),
        judged=len(judged),
        held=held,
        stated=fmean(score.stated for score in judged) if judged else None,
        hit_rate=held / len(judged) if judged else None,
        clock_hit_rate=fmean(held_on_clock) if judged else None,
        width=median(widths) if widths else None,
        width_unit=("points" if points else "factor") if widths else "",
        # Memory has a factor for each end.
        widened=max((f for name, f in widening.items() if name.startswith(kind)), default=1.0),
    )


def _held_on_the_clock(scored: Scored) -> bool:
    """Whether a judged prediction held if a time includes that of other programs."""
    if not scored.disturbed or scored.low is None or scored.high is None:
        return bool(scored.held)
    return scored.low <= (scored.observed or 0.0) <= scored.high
