"""Scores the planner's advice against published measurements.

    python -m benchmarks.advice --quality FILE --lr FILE          a table, baselines beside
    python -m benchmarks.advice --quality FILE --lr FILE --held-out
                                                  each source in turn, without what it taught
    python -m benchmarks.advice --quality FILE --lr FILE --json   one line a record: id and score
                                                  (higher is better), or id, default, low, high

Bars: the best rate lies in the planned range, at most one decade wide, for 90% of the models; the
default rate costs under 1% of the loss on average; 80% of the pairs are ordered rightly; prefix
methods never rank above LoRA. Leaving out each source in turn, LoRA's default has at most the
regret of a constant 3e-4, and pairs are ordered better than by "more trained parameters".
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.advice.cleaning import cleaned
from benchmarks.advice.held_out import held_out
from benchmarks.advice.pairs import predicted, score_pairs
from benchmarks.advice.rates import planned, score_rates
from benchmarks.memory.file import read_records
from sweeper.errors import UsageError
from sweeper.planning.rulebook.book import RuleBook, rule_book


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.advice")
    parser.add_argument("--quality", type=Path, help="records of scores, as quality.json")
    parser.add_argument("--lr", type=Path, help="records of learning rates, as lr.json")
    parser.add_argument("--json", action="store_true", help="one line a record, no table")
    parser.add_argument("--held-out", action="store_true", help="leave out each source in turn")
    arguments = parser.parse_args()
    if arguments.quality is None and arguments.lr is None:
        parser.error("give --quality FILE, --lr FILE, or both")
    book = rule_book()
    quality, rates = records(arguments.quality), records(arguments.lr)
    if arguments.json:
        lines(book, quality, rates)
    elif arguments.held_out:
        each_left_out(book, quality, rates)
    else:
        table(book, quality, rates)


def records(path: Path | None) -> list[dict[str, Any]]:
    """The records of a file, cleaned; says on standard error how many are none."""
    if path is None:
        return []
    try:
        found, refused = cleaned(read_records(path))
    except UsageError as error:
        raise SystemExit(str(error)) from error
    if refused:
        print(f"{path}: {refused} entries are no objects and were left out", file=sys.stderr)
    return found


def lines(book: RuleBook, quality: list[dict[str, Any]], rates: list[dict[str, Any]]) -> None:
    for record in quality:
        print(json.dumps({"id": record["id"], "score": round(predicted(book, record), 6)}))
    for record in rates:
        plan = asdict(planned(book, record))
        plan.pop("method")
        print(json.dumps(plan))


def table(book: RuleBook, quality: list[dict[str, Any]], rates: list[dict[str, Any]]) -> None:
    for tiers in ("A", "B", "AB"):
        scores = score_rates(book, rates, quality if tiers == "A" else [], tiers)
        print(
            f"tier {tiers}: best rate in the planned range for {scores.in_range:.1%} of "
            f"{scores.models} models and methods (widest range {scores.widest_decades:.2f} decades)"
        )
        for miss in scores.misses:
            print(f"    outside: {miss}")
        for source, (ours, constant, curves) in scores.regrets.items():
            print(
                f"    regret of the default: {ours:.3f}% of the loss, constant rate "
                f"{constant:.3f}%, over {curves} sweeps of {source}"
            )
    pairs = score_pairs(book, quality)
    print(
        f"pairs ordered rightly: {pairs.pooled:.1%} pooled, {pairs.mean_of_sources:.1%} by source"
    )
    for source, (share, count) in pairs.ours.items():
        simple, n = pairs.more_parameters.get(source, (float("nan"), 0))
        print(
            f"    {share:6.1%} of {count:5d}  (more parameters wins: {simple:6.1%} of {n})  "
            f"{source}"
        )
    print(f"prefix predicted above LoRA: {pairs.prefix_above_lora} pairs")


def each_left_out(
    book: RuleBook, quality: list[dict[str, Any]], rates: list[dict[str, Any]]
) -> None:
    for one in held_out(book, rates, quality):
        print(f"{one.source} (without {one.rules} rules)")
        if one.sweeps:
            print(
                f"    regret of LoRA's default: {one.regret:.3f}% of the loss, constant 3e-4 "
                f"{one.constant_regret:.3f}%, over {one.sweeps} sweeps"
            )
        if one.rates:
            print(
                f"    LoRA's default lies {one.decades:.2f} decades from the tuned rate, constant "
                f"3e-4 {one.constant_decades:.2f}, over {one.rates} rates"
            )
        if one.pairs:
            print(
                f"    pairs ordered rightly: {one.ordered:.1%}, by more parameters "
                f"{one.by_parameters:.1%}, of {one.pairs}"
            )


if __name__ == "__main__":
    main()
