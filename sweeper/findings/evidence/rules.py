"""Whether the trials of a study support the rules of its plan.

A rule about a parameter is *held* or *contradicted* where the losses of the trials inside and
outside its values differ, the other parameters being equal (``effects``). A rule that prefers a
strategy is judged by the best trial of that strategy and the best of the others on the same
validation items, after Holm's correction over these pairs. Everything else is *untested*, with what
would test it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sweeper import units
from sweeper.findings import words
from sweeper.findings.evidence.gains import best_of
from sweeper.findings.evidence.paired_trials import ComparedPairs, Pair, paired_scores
from sweeper.findings.evidence.parameter_effects import (
    FEWEST_CONFIGURATIONS,
    Effect,
    SeenTrial,
    effects,
)
from sweeper.findings.evidence.strategies import quality_share
from sweeper.findings.figures import Interval, Metric
from sweeper.findings.record import RuleComparison, RuleFinding
from sweeper.findings.study.item_scores import interval
from sweeper.findings.study.metric import loss_unit, objective_metric
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.plans import DECLARED, Candidate, Reason, expected_share
from sweeper.search.rule_claims import Claim, claims

# Twice the probability that an effect has the other sign. In 270 simulated studies this gave 273
# true verdicts about parameters and 4 false ones; with Holm's correction on top, 78 and none
# (benchmarks/rules).
DOUBT = 0.05
_SHARE = re.compile(expected_share(0.9).replace("90", r"(\d+)"))
_UNCLEAR = " That is too little to tell."
_MORE_SEEDS = "More seeds of both: --confirmation-seeds 5."
Word = Literal["held", "contradicted", "untested"]


@dataclass(frozen=True)
class _Test:
    """One claim of a rule in one strategy, and the effect that its trials show."""

    reason: Reason
    candidate: Candidate
    claim: Claim
    effect: Effect | None


def rule_findings(run: RunFiles, pairs: ComparedPairs) -> tuple[RuleFinding, ...]:
    """Every rule that fired for this plan, once, in the order of the plan."""
    tests: dict[str, list[_Test]] = {}
    for candidate in run.plan.candidates:
        for test in _tests(run, candidate):
            tests.setdefault(test.reason.rule, []).append(test)
    found: dict[str, RuleFinding] = {}
    for candidate, reason in _reasons(run):
        if reason.rule in found and found[reason.rule].verdict != "untested":
            continue
        if reason.rule in tests:
            found[reason.rule] = _of_parameter(run, tests[reason.rule])
        elif share := _SHARE.search(reason.effect):
            found[reason.rule] = _of_share(run, reason, candidate.strategy, int(share[1]) / 100)
        elif reason.weight:
            one = _of_preference(run, reason, candidate.strategy, pairs)
            if reason.rule not in found or one.verdict != "untested":
                found[reason.rule] = one
        else:
            found[reason.rule] = _finding(reason, evidence=_NOTHING)
    for candidate in run.plan.candidates:
        for caution in candidate.cautions:
            found.setdefault(caution.rule, _finding(caution, evidence=_NOTHING))
    for warning in run.plan.warnings:
        if warning.rule != DECLARED:  # the user's choice, no rule
            found.setdefault(warning.rule, _finding(warning, evidence=_NOTHING))
    return tuple(found.values())


_NOTHING = "It warns or advises, and sets nothing that trials could vary."


def rules_told(rules: Sequence[RuleFinding]) -> str:
    """How many rules have which verdict, in words; empty without rules."""
    if not rules:
        return ""
    counts = Counter(rule.verdict for rule in rules)
    told = units.joined([f"{counts[word]} {word}" for word in ("held", "contradicted", "untested")])
    left = [rule for rule in rules if rule.verdict == "untested" and rule.evidence]
    notes = sum(rule.evidence == _NOTHING for rule in left)
    more = [f"{len(left) - notes} compared without a clear result"] if len(left) > notes else []
    more += [f"{notes} only warn or advise"] if notes else []
    return f"{told} (of them {units.joined(more)})" if more else told


def _reasons(run: RunFiles) -> Iterator[tuple[Candidate, Reason]]:
    for candidate in run.plan.candidates:
        for reason in candidate.reasons:
            yield candidate, reason


def _tests(run: RunFiles, candidate: Candidate) -> list[_Test]:
    """Every claim that rules make about the parameters of a candidate."""
    made = [(reason, claim) for reason in candidate.reasons for claim in claims(reason, candidate)]
    trials = [_seen(trial) for trial in run.trials if trial.config.strategy == candidate.strategy]
    found = effects(trials, candidate.parameters, [claim for _, claim in made])
    return [
        _Test(reason, candidate, claim, effect)
        for (reason, claim), effect in zip(made, found, strict=True)
    ]


def _seen(trial: TrialFiles) -> SeenTrial:
    rungs = {report.rung: report.validation_loss for report in trial.rungs}
    losses = [run.result.validation_loss for run in trial.trainings()]
    finals = tuple(loss for loss in losses if loss is not None)
    return SeenTrial(trial.config.parameters, rungs, finals)


def _of_parameter(run: RunFiles, tests: list[_Test]) -> RuleFinding:
    """The verdict on a rule by its most precise comparison."""
    compared = [test for test in tests if test.effect is not None]
    if not compared:
        first = tests[0]
        return _finding(
            first.reason,
            strategy=first.candidate.strategy,
            would_test=_would_test(run, first),
        )
    test = min(compared, key=_width)
    assert test.effect is not None
    comparison = _comparison(test, test.effect)
    smallest, gap = run.margin, comparison.difference
    evidence, would = _told(comparison, loss_unit(run.plan.facts)), ""
    verdict: Word = "untested"
    if test.effect.doubt < DOUBT and abs(gap.value) >= smallest:
        verdict = "held" if test.effect.value > 0 else "contradicted"
    else:
        small = max(abs(gap.low or 0.0), abs(gap.high or 0.0)) < smallest
        evidence += f" Less than the margin of {smallest:g}." if small else _UNCLEAR
        which = "other" if test.effect.outside <= test.effect.inside else "these"
        would = f"More trials with {which} values."
    for trial in run.trials:
        if trial.config.tests_rule == test.reason.rule:
            evidence += f" Trial {trial.config.number} was made to test it."
    return _finding(
        test.reason,
        strategy=test.candidate.strategy,
        verdict=verdict,
        evidence=evidence,
        comparison=comparison,
        would_test=would,
    )


def _width(test: _Test) -> float:
    assert test.effect is not None
    return test.effect.high - test.effect.low


def _comparison(test: _Test, effect: Effect) -> RuleComparison:
    low, value, high = (
        effect.inside_loss * (math.exp(one) - 1) for one in (effect.low, effect.value, effect.high)
    )
    return RuleComparison(
        strategy=test.candidate.strategy,
        parameter=test.claim.parameter,
        values=test.claim.told,
        inside_trials=effect.inside,
        inside_loss=effect.inside_loss,
        outside_trials=effect.outside,
        outside_loss=effect.outside_loss,
        difference=Interval(value=value, low=low, high=high, n=effect.inside + effect.outside),
        doubt=effect.doubt,
    )


def _told(one: RuleComparison, unit: str) -> str:
    """The comparison in one sentence."""
    gap = one.difference
    digits = words.digits_for(((gap.high or 0.0) - (gap.low or 0.0)) / 2)
    metric = Metric(name="loss", title="", higher_is_better=False, unit=unit)
    sides = [
        f"{loss:.{digits}f} ({units.plural(count, 'trial')})"
        for loss, count in (
            (one.inside_loss, one.inside_trials),
            (one.outside_loss, one.outside_trials),
        )
    ]
    return (
        f"{words.short(one.strategy)} with {one.parameter} {one.values}: {sides[0]}; with other "
        f"values: {sides[1]}. With all else equal the others differ by "
        f"{words.difference(gap, metric)}."
    )


def _would_test(run: RunFiles, test: _Test) -> str:
    """The trial that a rule lacks."""
    name, strategy = test.claim.parameter, test.candidate.strategy
    tried = [t.config.parameters for t in run.trials if t.config.strategy == strategy]
    inside = [test.claim.inside(point[name]) for point in tried if name in point]
    if any(inside) and not all(inside):
        return f"More {words.short(strategy)} trials: a comparison needs {FEWEST_CONFIGURATIONS}."
    values = test.claim.told if inside and not any(inside) else f"other than {test.claim.told}"
    known = test.candidate.parameters.get(name)
    fixed = "" if known is not None and known.searched else " (it is not searched)"
    return f"A {words.short(strategy)} trial with {name} {values}{fixed}."


def _of_share(run: RunFiles, reason: Reason, strategy: str, least: float) -> RuleFinding:
    """The verdict on a rule that expects a share of full fine-tuning's quality."""
    found = quality_share(run)
    low = found.share.low if found and found.first == strategy else None
    if found is None or low is None:
        would = f"Trials of {words.strategy(strategy)} and of full fine-tuning with several seeds."
        return _finding(reason, strategy=strategy, would_test=would)
    share = found.share
    high = share.value if share.high is None else share.high
    verdict: Word = "untested"
    if low >= least or high < least:
        verdict = "held" if low >= least else "contradicted"
    return _finding(
        reason,
        strategy=strategy,
        verdict=verdict,
        evidence=f"{words.short(strategy)} reaches {words.in_percent(share)} of the quality of "
        f"{words.strategy(found.second)} on the {found.split} split.",
        would_test="" if verdict != "untested" else _MORE_SEEDS,
    )


# Preferences among strategies


def rule_pairs(run: RunFiles) -> list[Pair]:
    """The two trials of every rule that prefers a strategy."""
    pairs = [_pair(run, candidate.strategy) for candidate, one in _reasons(run) if one.weight]
    return [pair for pair in pairs if pair is not None and paired_scores(*pair)]


def _pair(run: RunFiles, strategy: str) -> Pair | None:
    """The strategy's best trial and the best of the others."""
    own = best_of(run, strategy)
    rest = next((trial for trial in run.completed if trial.config.strategy != strategy), None)
    return (own, rest) if own and rest else None


def _of_preference(
    run: RunFiles, reason: Reason, strategy: str, pairs: ComparedPairs
) -> RuleFinding:
    pair = _pair(run, strategy)
    comparison = pairs.of(*pair) if pair else None
    if pair is None or comparison is None:
        lacking = "another strategy" if best_of(run, strategy) else words.strategy(strategy)
        would = "Losses of single items." if pair else f"A completed trial of {lacking}."
        return _finding(reason, strategy=strategy, would_test=would)
    smallest = run.margin
    word, difference = comparison.outcome(smallest), interval(comparison.estimate)
    verdict: Word = "untested"
    if word in ("better", "worse"):
        wanted = "better" if reason.weight > 0 else "worse"
        verdict = "held" if word == wanted else "contradicted"
    told = words.outcome(word, difference, comparison.comparisons, smallest, comparison.lacking)
    metric = objective_metric(run.plan)
    gap = words.difference(difference, metric)
    first, second = (
        f"trial {one.config.number} ({words.short(one.config.strategy)})" for one in pair
    )
    return _finding(
        reason,
        strategy=strategy,
        verdict=verdict,
        evidence="The best trial of the strategy and the best of the others: "
        f"{words.minus_of(first, second, metric)} = {gap}: {told}.",
        would_test="" if verdict != "untested" else _MORE_SEEDS,
    )


def _finding(
    reason: Reason, *, strategy: str = "", verdict: Word = "untested", **more: Any
) -> RuleFinding:
    effect = f"{words.short(strategy)}: {reason.effect}" if strategy else reason.effect
    return RuleFinding.taken_from(reason, effect=effect, verdict=verdict, **more)
