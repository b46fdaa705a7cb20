"""The advice on a source of measurements, without what was learnt from that source.

Rules that cite a held-out source are taken from the book. The constants of ``expectation`` that
were fitted to it are replaced by plain ones, which state an order and were fitted to nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from benchmarks.advice.expectation import FITTED, PLAIN, Constants
from benchmarks.advice.pairs import score_pairs
from benchmarks.advice.rates import CONSTANT, curves, planned
from benchmarks.advice.records import Record, strategy_of
from sweeper.planning.rulebook.book import RuleBook

# How rules cite the sources of the records, where that is not the source's own name.
_CITED = {
    "thinking-machines-lab/tinker-cookbook": ("tinker", "thinkingmachines"),
    "huggingface/peft method_comparison/MetaMathQA": ("PEFT method comparison",),
    "AGI-Edgerunners/LLM-Adapters": ("LLM-Adapters", "2304.01933"),
    "Lightning-AI/litgpt": ("litgpt",),
    "THUDM/P-tuning-v2": ("P-tuning-v2", "2110.07602"),
    "pytorch/torchtune": ("torchtune",),
    "microsoft/LoRA": ("2106.09685",),
    "artidoro/qlora": ("2305.14314",),
    "princeton-nlp/MeZO": ("MeZO",),
    "huggingface/alignment-handbook": ("alignment-handbook",),
}
_TRADEOFFS = "danbider/lora-tradeoffs"
_TUNED = "AB"


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How the advice did on one source that it knew nothing of. Nan where nothing can be told.

    Args:
        source: The source.
        rules: Rules that were taken from the book.
        regret: Of LoRA's default over the source's sweeps, in percent of the loss.
        constant_regret: The same for a constant rate of 3e-4.
        sweeps: Sweeps that both were interpolated in.
        decades: Mean distance of LoRA's default from tuned or swept rates.
        constant_decades: The same for a constant rate of 3e-4.
        rates: Tuned or swept rates.
        ordered: Share of the pairs that were ordered rightly.
        by_parameters: Share that "more trained parameters wins" orders rightly, of the same pairs.
        pairs: Pairs of which both trained parameters (or ranks) are known and differ.
    """

    source: str
    rules: int
    regret: float
    constant_regret: float
    sweeps: int
    decades: float
    constant_decades: float
    rates: int
    ordered: float
    by_parameters: float
    pairs: int


def without(book: RuleBook, source: str) -> RuleBook:
    """The book without the rules that cite a source."""
    cited = _CITED.get(source) or (("2405.09673",) if source.startswith(_TRADEOFFS) else (source,))
    kept = (
        rule
        for rule in book.rules
        if not any(word.lower() in rule.source.lower() for word in cited)
    )
    return book._replace(rules=tuple(kept))


def constants_without(source: str) -> Constants:
    """The expectation's constants with plain ones for those that a source decided."""
    return replace(FITTED, **{name: getattr(PLAIN, name) for name in _DECIDED.get(source, ())})


_DECIDED: dict[str, tuple[str, ...]] = {
    "thinking-machines-lab/tinker-cookbook": ("too_low", "too_high", "diverging", "capacity"),
    "pytorch/torchtune": ("targets",),
}


def held_out(book: RuleBook, rates: Iterable[Record], quality: Iterable[Record]) -> list[HeldOut]:
    """Every source in turn, by name."""
    by_source: dict[str, tuple[list[Record], list[Record]]] = defaultdict(lambda: ([], []))
    for record in rates:
        by_source[str(record["source"])][0].append(record)
    for record in quality:
        by_source[str(record["source"])][1].append(record)
    return [_one(book, source, *records) for source, records in sorted(by_source.items())]


def _one(book: RuleBook, source: str, rates: list[Record], quality: list[Record]) -> HeldOut:
    rest = without(book, source)
    regrets = [
        pair
        for curve in curves(quality)
        if strategy_of(curve.record) == "lora"
        for pair in [
            (
                curve.regret(planned(rest, curve.record).default),
                curve.regret(CONSTANT["lora"]),
            )
        ]
        if None not in pair
    ]
    tuned = [
        record
        for record in rates
        if str(record.get("method", "lora")).startswith("lora")
        and record.get("best_lr")
        and record["score_tier"] in _TUNED
    ]
    ours = [_decades(planned(rest, record).default, record) for record in tuned]
    plain = [_decades(CONSTANT["lora"], record) for record in tuned]
    pairs = score_pairs(rest, quality, constants_without(source))
    return HeldOut(
        source=source,
        rules=len(book.rules) - len(rest.rules),
        regret=100 * _mean(float(one or 0) for one, _ in regrets),
        constant_regret=100 * _mean(float(other or 0) for _, other in regrets),
        sweeps=len(regrets),
        decades=_mean(ours),
        constant_decades=_mean(plain),
        rates=len(tuned),
        ordered=pairs.on_same[source][0] if source in pairs.on_same else math.nan,
        by_parameters=pairs.more_parameters.get(source, (math.nan, 0))[0],
        pairs=pairs.on_same.get(source, (math.nan, 0))[1],
    )


def _decades(rate: float, record: Record) -> float:
    return abs(math.log10(rate / float(record["best_lr"])))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else math.nan
