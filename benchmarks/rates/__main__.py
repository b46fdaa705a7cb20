"""A league of rules for the learning rate: what each costs where it was not made.

    python -m benchmarks.rates --quality quality.json [--chart FILE.svg]

The regret of a rate is the share by which its loss is above the lowest of a sweep. A rule is scored
on the sources that it was not made from: sweeper's default without the rules that cite the source,
one flat rate chosen on the other sources, Tinker's formula not on Tinker's sweeps.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median, stdev

import altair as alt
import vl_convert
from scipy import stats

from benchmarks.advice.__main__ import records
from benchmarks.advice.held_out import without
from benchmarks.rates.sweeps import APERTUS, RECORDINGS, TINKER, Sweep, all_sweeps
from benchmarks.tables import head, line
from sweeper.planning.rulebook.book import rule_book

TITLES = {TINKER: "Tinker", APERTUS: "Apertus", RECORDINGS: "recordings"}
OURS, FLAT, FORMULA = "sweeper", "one flat rate", "Tinker's formula"
# What users get, the source among what the rules were made from: no contender.
WHOLE = "sweeper, all rules"
CONSTANTS = {
    "lora": {"1e-5": 1e-5, "1e-4": 1e-4, "2e-4": 2e-4, "3e-4": 3e-4},
    "full": {"1e-5": 1e-5, "2e-5": 2e-5, "5e-5": 5e-5},
}
# For full fine-tuning and for LoRA; the exponent is the one for Qwen, or for Llama.
_TINKER_RATES, _QWEN, _LLAMA = {"full": 5e-5, "lora": 5e-4}, 0.0775, 0.781
# Models or tasks for an interval.
_FEWEST = 3
# The low end of the chart's logarithmic axis, in percent.
_LOWEST = 0.05
_FLAT_RATES = [10 ** (exponent / 20) for exponent in range(-120, -39)]

Rule = Callable[[Sweep], float | None]
Scores = Mapping[str, Mapping[str, float]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.rates")
    parser.add_argument("--quality", type=Path, required=True, help="scores, as quality.json")
    parser.add_argument("--chart", type=Path, help="file for the chart (SVG)")
    arguments = parser.parse_args()
    sweeps = all_sweeps(records(arguments.quality))
    leagues = {}
    for strategy in CONSTANTS:
        own = [sweep for sweep in sweeps if sweep.strategy == strategy]
        leagues[strategy] = league(own, strategy)
        print(f"{table(leagues[strategy] | {WHOLE: whole_book(own)}, own, strategy)}\n")
        for source, title in TITLES.items():
            scored = {name: of[source] for name, of in leagues[strategy].items() if source in of}
            rivals = scored.keys() - {OURS}
            if rivals:
                best = min(rivals, key=scored.__getitem__)
                print(f"{title}: behind {best} by {behind(own, source, best)}")
    if arguments.chart:
        arguments.chart.write_text(chart(leagues), encoding="utf-8")


def league(sweeps: Sequence[Sweep], strategy: str) -> dict[str, dict[str, float]]:
    """The mean regret of every rule by source, the best rule over its sources first."""
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for source in dict.fromkeys(sweep.source for sweep in sweeps):
        here = [sweep for sweep in sweeps if sweep.source == source]
        elsewhere = [sweep for sweep in sweeps if sweep.source != source]
        for name, rule in rules(strategy, source, elsewhere).items():
            rates = [(sweep, rate) for sweep in here if (rate := rule(sweep)) is not None]
            if rates:
                scores[name][source] = mean_regret(rates)
    return dict(sorted(scores.items(), key=lambda item: _overall(item[1], scores)))


def _overall(of_rule: Mapping[str, float], scores: Scores) -> float:
    """The mean rank over the sources where the rule is scored, from 0 for the best to 1."""
    ranks = []
    for source, regret in of_rule.items():
        others = [rival[source] for rival in scores.values() if source in rival]
        ranks.append(sum(other < regret for other in others) / max(len(others) - 1, 1))
    return fmean(ranks)


def rules(strategy: str, source: str, elsewhere: Sequence[Sweep]) -> dict[str, Rule]:
    """Every rule, without what it may have learnt from a source."""
    book = without(rule_book(), source)
    flat = best_constant(elsewhere)
    made: dict[str, Rule] = {
        OURS: lambda sweep: sweep.planned(book),
        FLAT: lambda _: flat,
        FORMULA: lambda sweep: None if source == TINKER else formula(sweep),
    }
    constants = CONSTANTS[strategy].items()
    return made | {name: lambda _, rate=rate: rate for name, rate in constants}


def whole_book(sweeps: Sequence[Sweep]) -> dict[str, float]:
    """The mean regret of sweeper's default by source, with nothing left out."""
    book = rule_book()
    sources = dict.fromkeys(sweep.source for sweep in sweeps)
    return {
        source: mean_regret(
            (sweep, sweep.planned(book)) for sweep in sweeps if sweep.source == source
        )
        for source in sources
    }


def formula(sweep: Sweep) -> float:
    """Tinker's rate for a width, https://github.com/thinking-machines-lab/tinker-cookbook,
    tinker_cookbook/hyperparam_utils.py; other families than Llama as Qwen."""
    exponent = _LLAMA if "llama" in sweep.group.lower() else _QWEN
    return float(_TINKER_RATES[sweep.strategy] * (2000 / sweep.hidden) ** exponent)


def best_constant(sweeps: Sequence[Sweep]) -> float | None:
    """The rate with the lowest mean regret over sources; None without any."""
    sources = {sweep.source for sweep in sweeps}
    if not sources:
        return None

    def regret(rate: float) -> float:
        each = ([(s, rate) for s in sweeps if s.source == source] for source in sources)
        return fmean(map(mean_regret, each))

    return min(_FLAT_RATES, key=regret)


def mean_regret(rates: Iterable[tuple[Sweep, float]]) -> float:
    """The mean regret over models and tasks."""
    return fmean(regrets(rates))


def regrets(rates: Iterable[tuple[Sweep, float]]) -> list[float]:
    """The regret of each model and task: the median over ranks, of which one may diverge."""
    groups: dict[str, list[float]] = defaultdict(list)
    for sweep, rate in rates:
        groups[sweep.group].append(sweep.regret(rate))
    return [median(of_group) for of_group in groups.values()]


def behind(sweeps: Sequence[Sweep], source: str, rival: str) -> str:
    """How far our default is behind a rule on a source, with its 95% interval if it has one."""
    here = [sweep for sweep in sweeps if sweep.source == source]
    elsewhere = [sweep for sweep in sweeps if sweep.source != source]
    made = rules(here[0].strategy, source, elsewhere)
    ours, theirs = (
        regrets((sweep, rate) for sweep in here if (rate := made[name](sweep)) is not None)
        for name in (OURS, rival)
    )
    each = [100 * (own - other) for own, other in zip(ours, theirs, strict=True)]
    if len(each) < _FEWEST:
        return f"{fmean(each):+.2f} points, no interval from {len(each)}"
    half = float(stats.t.ppf(0.975, len(each) - 1)) * stdev(each) / math.sqrt(len(each))
    return f"{fmean(each):+.2f} points ({fmean(each) - half:.2f} to {fmean(each) + half:.2f})"


def table(scores: Scores, sweeps: Sequence[Sweep], strategy: str) -> str:
    """Regrets in percent, as Markdown."""
    sources = list(dict.fromkeys(sweep.source for sweep in sweeps))
    counts = {
        source: len({sweep.group for sweep in sweeps if sweep.source == source})
        for source in sources
    }
    heads = [f"{TITLES[source]} ({counts[source]})" for source in sources]
    lines = [head(strategy, *heads)]
    for name, of_rule in scores.items():
        cells = [
            f"{100 * of_rule[source]:.2f}%" if source in of_rule else "–" for source in sources
        ]
        lines.append(line(name, *cells))
    return "\n".join(lines)


def chart(leagues: Mapping[str, Scores]) -> str:
    """A panel a strategy, a row a rule, the best first, and a mark a source; as SVG."""
    marks = [
        {
            "strategy": {"lora": "LoRA", "full": "full fine-tuning"}[strategy],
            "rule": name,
            "source": TITLES[source],
            "regret": max(100 * regret, _LOWEST),
            "text": f"{name}, {TITLES[source]}: {100 * regret:.2f}%",
        }
        for strategy, scores in leagues.items()
        for name, of_rule in scores.items()
        for source, regret in of_rule.items()
    ]
    axis = alt.Axis(values=[0.1, 1, 10, 100], format="~g", title="regret in % of the loss")
    scale = alt.Scale(type="log", domain=[_LOWEST, 100])
    panels = (
        alt.Chart(alt.Data(values=marks))
        .mark_circle(size=90, opacity=1)
        .encode(
            x=alt.X("regret:Q", axis=axis, scale=scale),
            y=alt.Y("rule:N", sort=None, title=None),
            color=alt.Color("source:N", sort=None, title=None),
            description="text:N",
        )
        .properties(width=600)
        .facet(row=alt.Row("strategy:N", sort=None, title=None))
        .resolve_scale(y="independent")
    )
    return str(vl_convert.vegalite_to_svg(panels.to_json()))


if __name__ == "__main__":
    main()
