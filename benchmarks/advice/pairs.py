"""Scores the expected order of configurations against measured ones, group by group."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from benchmarks.advice.expectation import FITTED, Constants, expected_excess
from benchmarks.advice.records import (
    Record,
    known_strategy,
    learned_tokens,
    standing_of,
    strategy_of,
)
from sweeper.planning.rulebook.book import RuleBook
from sweeper.spec import Scalar

# Below these differences two scores are not told apart. GSM8K: the 90th percentile of the change
# between library versions of one configuration (3.2 points); losses and other scores: one point,
# or a fifth of a percent of a loss.
NOISE_GSM8K = 0.032
NOISE_POINTS = 1.0
NOISE_SHARE = 0.002
NOISE_LOSS_SHARE = 0.002

# Methods that sweeper does not have, by how much they can move: scaling vectors and norms move
# little. A prior for this benchmark only.
_WEAK = ("ia3", "ln-tuning", "ln_tuning", "vera", "pvera", "road", "boft")
WEAK_EXCESS = 0.08
UNTUNED_EXCESS = 0.5
# An update with few parameters holds less: share of the loss for each factor of ten below this.
ENOUGH_PARAMETERS = 5_000_000
FEW_PARAMETERS = 0.02


@dataclass(frozen=True, slots=True)
class PairScores:
    """Share of pairs that were ordered rightly, by source, with the baseline beside it.

    Args:
        ours: Of all pairs.
        more_parameters: By "more trained parameters wins", of the pairs for which that is known.
        on_same: Ours, of the same pairs as ``more_parameters``.
        prefix_above_lora: Pairs in which prefix tuning was predicted above LoRA.
    """

    ours: dict[str, tuple[float, int]]
    more_parameters: dict[str, tuple[float, int]]
    on_same: dict[str, tuple[float, int]]
    prefix_above_lora: int

    @property
    def pooled(self) -> float:
        pairs = sum(n for _, n in self.ours.values())
        return sum(share * n for share, n in self.ours.values()) / max(pairs, 1)

    @property
    def mean_of_sources(self) -> float:
        return sum(share for share, _ in self.ours.values()) / max(len(self.ours), 1)


def predicted(book: RuleBook, record: Record, constants: Constants = FITTED) -> float:
    """The score predicted for a record; higher is better, comparable inside its group."""
    method = str(record.get("method") or "").lower()
    if method in ("none", "base", "zero-shot"):
        return -UNTUNED_EXCESS
    strategy = known_strategy(record)
    if strategy is None:
        excess = WEAK_EXCESS if method.startswith(_WEAK) else 0.0
    else:
        rated = standing_of(book, record)
        learned = learned_tokens(record)
        settings = _settings(record)
        excess = expected_excess(rated.quality, settings, rated.parameters, learned, constants)
    trained = record.get("trainable_params")
    if trained and strategy not in ("full", "prefix"):
        excess += FEW_PARAMETERS * max(math.log10(ENOUGH_PARAMETERS / float(trained)), 0.0)
    return 0.0 - excess


def score_pairs(
    book: RuleBook, records: Iterable[Record], constants: Constants = FITTED
) -> PairScores:
    """Order every pair of records in a group that differs by more than noise."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if _worth(record) is not None:
            groups[str(record["comparison_group"])].append(record)
    ours: dict[str, list[bool]] = defaultdict(list)
    simple: dict[str, list[bool]] = defaultdict(list)
    same: dict[str, list[bool]] = defaultdict(list)
    above = 0
    for rows in groups.values():
        scores = {str(row["id"]): predicted(book, row, constants) for row in rows}
        for one, other in combinations(rows, 2):
            above += _prefix_above(one, other, scores)
            if not _differ(one, other):
                continue
            source = str(one.get("source"))
            truth = (_worth(one) or 0.0) > (_worth(other) or 0.0)
            right = truth == (scores[str(one["id"])] > scores[str(other["id"])])
            ours[source].append(right)
            size, other_size = _capacity(one), _capacity(other)
            if size and other_size and size != other_size:
                simple[source].append(truth == (size > other_size))
                same[source].append(right)
    return PairScores(_shares(ours), _shares(simple), _shares(same), above)


def _shares(found: dict[str, list[bool]]) -> dict[str, tuple[float, int]]:
    return {
        name: (sum(rights) / len(rights), len(rights)) for name, rights in sorted(found.items())
    }


def _settings(record: Record) -> dict[str, Scalar]:
    """A record's settings under sweeper's names."""
    raw: dict[str, Any] = dict(record.get("hyperparameters") or {})
    settings: dict[str, Scalar] = {}
    rate = raw.get("lr") or raw.get("learning_rate")
    if rate:
        settings["learning_rate"] = float(rate)
    rank = raw.get("r") or raw.get("lora_r") or raw.get("rank")
    if rank and str(record.get("method")).lower().startswith(("lora", "qlora", "dora", "qdora")):
        settings["r"] = int(float(rank))
    targets = str(raw.get("targets") or "")
    if targets:
        settings["target_modules"] = "all-linear" if "all" in targets else "qv"
    return settings


def _worth(record: Record) -> float | None:
    """The measured score, higher being better; a diverged run is worst; None if not measured."""
    if record.get("diverged"):
        return -math.inf
    value = record.get("value")
    if value is None or record.get("score_tier") == "C":
        return None
    return -float(value) if "lower" in str(record.get("metric_direction")) else float(value)


def _differ(one: Record, other: Record) -> bool:
    a, b = _worth(one), _worth(other)
    assert a is not None
    assert b is not None
    if a == b:
        return False
    if math.isinf(a) or math.isinf(b):
        return True
    noise = NOISE_POINTS if abs(a) > 2 else NOISE_SHARE
    if "gsm8k" in str(one.get("metric")).lower():
        noise = NOISE_GSM8K
    elif a < 0:
        noise = NOISE_LOSS_SHARE * abs(a)
    spread = max(float(one.get("std") or 0.0), float(other.get("std") or 0.0))
    return abs(a - b) > max(noise, 2 * spread)


def _capacity(record: Record) -> float | None:
    """What "more parameters wins" looks at: trained parameters, or the rank."""
    trained = record.get("trainable_params")
    if trained:
        return float(trained)
    rank = _settings(record).get("r")
    return float(rank) if isinstance(rank, int) else None


def _prefix_above(one: Record, other: Record, scores: dict[str, float]) -> int:
    names = {strategy_of(one), strategy_of(other)}
    if names != {"prefix", "lora"} or "lora" not in (one["method"], other["method"]):
        return 0
    prefix, lora = (one, other) if strategy_of(one) == "prefix" else (other, one)
    return int(scores[str(prefix["id"])] > scores[str(lora["id"])])
