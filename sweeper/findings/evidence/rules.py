"""Whether the trials of a study support the rules of its plan.

A rule is *held* or *contradicted* only where the best trials on either side of it can be told
apart on the same validation items, after Holm's correction over all pairs of trials that rules
put to the test; a default against a best keeps the one over strategies, so that no two sections
disagree. Everything else is *untested*, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from sweeper.findings import words
from sweeper.findings.evidence.paired_trials import Judged, Pair, paired_scores
from sweeper.findings.evidence.parameters import is_number
from sweeper.findings.record import RuleFinding
from sweeper.findings.study.metric import margin, objective_metric
from sweeper.findings.study.reading import RunFiles, TrialFiles
from sweeper.findings.study.scores import interval
from sweeper.plans import DECLARED, Reason
from sweeper.spec import Scalar

_NUMBER = r"[0-9][0-9.eE+-]*"
_RANGE = re.compile(rf"^(\w+) ({_NUMBER}) to ({_NUMBER}) \(")
_CHOICES = re.compile(r"^(\w+) \{(.+)\} \(")


@dataclass(frozen=True)
class _Case:
    """A rule with the two trials that test it, or the reason why none do.

    Args:
        first: Best trial on the side that the rule prefers; None if the rule cannot be tested.
        second: Best trial on the other side.
        wanted: What ``first`` should be against ``second``.
        about: The parameter that the rule speaks of; empty if it is about strategies.
    """

    reason: Reason
    effect: str
    why_not: str = ""
    first: TrialFiles | None = None
    second: TrialFiles | None = None
    wanted: Literal["better", "worse"] = "better"
    about: str = ""


def rule_findings(run: RunFiles, judged: Judged) -> tuple[RuleFinding, ...]:
    """Every rule that fired for this plan, once, in the order of the plan."""
    return tuple(_judge(run, case, judged) for case in _cases(run))


def rule_pairs(run: RunFiles) -> list[Pair]:
    """The two trials of every rule that can be tested."""
    return [
        (case.first, case.second)
        for case in _cases(run)
        if case.first is not None and case.second is not None
    ]


def _cases(run: RunFiles) -> list[_Case]:
    """One for each rule; of a rule for several strategies the first that can be tested."""
    cases: dict[str, _Case] = {}
    for candidate in run.plan.candidates:
        for reason in candidate.reasons:
            case = _comparable(_case(run, reason, candidate.strategy))
            known = cases.get(reason.rule)
            if known is None or (known.first is None and case.first is not None):
                cases[reason.rule] = case
        for caution in candidate.cautions:
            cases.setdefault(
                caution.rule, _note(caution, "A warning: there is nothing to compare.")
            )
    for warning in run.plan.warnings:
        if warning.rule == DECLARED:
            continue  # the user's choice, no rule
        cases.setdefault(
            warning.rule,
            _note(warning, "About the data or the set-up: there is nothing to compare."),
        )
    return list(cases.values())


def _note(reason: Reason, why_not: str) -> _Case:
    return _Case(reason, reason.effect, why_not)


def _case(run: RunFiles, reason: Reason, strategy: str) -> _Case:
    effect = f"{words.short(strategy)}: {reason.effect}" if reason.effect else ""
    blank = _Case(reason, effect)
    if reason.weight:
        return _preference(run, blank, strategy)
    why_not = "All trials follow this rule."
    for part in reason.effect.split("; "):
        case = _about_parameter(run, blank, strategy, part)
        if case.first is not None:
            return case
        why_not = case.why_not or why_not
    return replace(blank, why_not=why_not)


def _preference(run: RunFiles, blank: _Case, strategy: str) -> _Case:
    """The strategy's best trial against the best of the others."""
    own = [t for t in run.completed if t.config.strategy == strategy]
    rest = [t for t in run.completed if t.config.strategy != strategy]
    if not own or not rest:
        lacking = "another strategy" if own else words.strategy(strategy)
        return replace(blank, why_not=f"No trial of {lacking} completed to compare with.")
    wanted: Literal["better", "worse"] = "better" if blank.reason.weight > 0 else "worse"
    return replace(blank, first=own[0], second=rest[0], wanted=wanted)


def _about_parameter(run: RunFiles, blank: _Case, strategy: str, part: str) -> _Case:
    """The best trial inside what a rule set for one parameter against the best outside."""
    membership = _membership(part)
    if membership is None:
        return blank
    name, belongs = membership
    trials = [
        trial
        for trial in run.completed
        if trial.config.strategy == strategy and name in trial.config.parameters
    ]
    within = [t for t in trials if belongs(t.config.parameters[name])]
    outside = [t for t in trials if not belongs(t.config.parameters[name])]
    if not within or not outside:
        where = "outside" if within else "inside"
        why_not = f"No completed trial has a {name} {where} the values of this rule."
        return replace(blank, why_not=why_not)
    return replace(blank, first=within[0], second=outside[0], about=name)


def _membership(part: str) -> tuple[str, Callable[[Scalar], bool]] | None:
    """The parameter that a rule's effect sets, and a test for its values."""
    if match := _RANGE.match(part):
        name, low, high = match[1], float(match[2]), float(match[3])
        return name, lambda value: is_number(value) and low <= value <= high
    if match := _CHOICES.match(part):
        name, choices = match[1], match[2].split("|")
        return name, lambda value: str(value) in choices
    return None


def _comparable(case: _Case) -> _Case:
    if case.first is None or case.second is None or paired_scores(case.first, case.second):
        return case
    why_not = "No losses of single items were kept to compare."
    return replace(case, first=None, second=None, why_not=why_not)


def _judge(run: RunFiles, case: _Case, judged: Judged) -> RuleFinding:
    verdict: Literal["held", "contradicted", "untested"] = "untested"
    evidence = case.why_not
    first, second = case.first, case.second
    judgement = judged.of(first, second) if first is not None and second is not None else None
    if first is not None and second is not None and judgement is not None:
        smallest = margin(run.plan.facts.aim.margin_points)
        word, difference = judgement.outcome(smallest), interval(judgement.estimate)
        if word in ("better", "worse"):
            verdict = "held" if word == case.wanted else "contradicted"
        told = words.outcome(word, difference, judgement.comparisons, smallest)
        metric = objective_metric(run.plan)
        gap = words.difference(difference, metric)
        names = _named(first, case.about), _named(second, case.about)
        pair = words.minus_of(*names, metric)
        evidence = (
            f"Best trial with this strategy or value − best other trial: {pair} = {gap}: {told}."
        )
    reason = case.reason
    return RuleFinding(
        rule=reason.rule,
        title=reason.title,
        why=reason.why,
        source=reason.source,
        effect=case.effect,
        verdict=verdict,
        evidence=evidence,
    )


def _named(trial: TrialFiles, parameter: str) -> str:
    value = trial.config.parameters.get(parameter)
    told = words.value(value) if parameter and value is not None else ""
    detail = f"{parameter} {told}" if told else words.short(trial.config.strategy)
    return f"trial {trial.config.number} ({detail})"
