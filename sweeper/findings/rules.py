"""Whether this study held the rules up that its plan rests on.

A rule is *held* or *contradicted* only where two groups of trials that it separates can be told
apart on the same validation items. Everything else is *untested*, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sweeper.evaluation.significance import outcome, paired_difference
from sweeper.findings import words
from sweeper.findings.metric import loss_unit, margin
from sweeper.findings.parameters import is_number
from sweeper.findings.reading import RunFiles, TrialFiles
from sweeper.findings.record import Metric, RuleFinding
from sweeper.findings.scores import interval, validation_losses
from sweeper.planning.plan import Reason
from sweeper.spec import Scalar

Judgement = Literal["held", "contradicted", "untested"]
_NUMBER = r"[0-9][0-9.eE+-]*"
_RANGE = re.compile(rf"^(\w+) ({_NUMBER}) to ({_NUMBER}) \(")
_CHOICES = re.compile(r"^(\w+) \{(.+)\} \(")


@dataclass(frozen=True)
class _Judged:
    verdict: Judgement
    evidence: str


def rule_findings(run: RunFiles) -> tuple[RuleFinding, ...]:
    """Every rule that fired for this plan, once, in the order of the plan."""
    found: dict[str, RuleFinding] = {}
    for candidate in run.plan.candidates:
        for reason in candidate.reasons:
            finding = _finding(run, reason, candidate.strategy)
            known = found.get(reason.rule)
            if known is None or (known.verdict == "untested" and finding.verdict != "untested"):
                found[reason.rule] = finding
        for caution in candidate.cautions:
            found.setdefault(caution.rule, _note(caution, "a caution about one strategy"))
    for warning in run.plan.warnings:
        found.setdefault(warning.rule, _note(warning, "about the data or the set-up as a whole"))
    return tuple(found.values())


def _note(reason: Reason, what: str) -> RuleFinding:
    return _as_finding(reason, reason.effect, _Judged("untested", f"It is {what}."))


def _finding(run: RunFiles, reason: Reason, strategy: str) -> RuleFinding:
    effect = f"{words.short(strategy)}: {reason.effect}" if reason.effect else ""
    for part in reason.effect.split("; "):
        judged = _judge_part(run, strategy, part)
        if judged is not None and judged.verdict != "untested":
            return _as_finding(reason, effect, judged)
    if reason.weight:
        return _as_finding(reason, effect, _judge_preference(run, strategy, reason.weight))
    judged = _judge_part(run, strategy, reason.effect.split("; ")[0])
    return _as_finding(
        reason, effect, judged or _Judged("untested", "No trials differ in what it says.")
    )


def _as_finding(reason: Reason, effect: str, judged: _Judged) -> RuleFinding:
    return RuleFinding(
        rule=reason.rule,
        title=reason.title,
        why=reason.why,
        source=reason.source,
        effect=effect,
        verdict=judged.verdict,
        evidence=judged.evidence,
    )


def _judge_preference(run: RunFiles, strategy: str, weight: float) -> _Judged:
    """The strategy's best trial against the best of the others."""
    own = [t for t in run.completed if t.config.strategy == strategy]
    rest = [t for t in run.completed if t.config.strategy != strategy]
    if not own or not rest:
        return _Judged("untested", "No two strategies have a completed trial to compare.")
    return _compare(run, own[0], rest[0], wanted="better" if weight > 0 else "worse")


def _judge_part(run: RunFiles, strategy: str, part: str) -> _Judged | None:
    """Trials inside what a rule set for one parameter against those outside; None if not that."""
    inside = _membership(part)
    if inside is None:
        return None
    name, belongs = inside
    trials = [t for t in run.completed if t.config.strategy == strategy]
    trials = [t for t in trials if name in t.config.parameters]
    within = [t for t in trials if belongs(t.config.parameters[name])]
    outside = [t for t in trials if not belongs(t.config.parameters[name])]
    if not within or not outside:
        where = "outside" if within else "inside"
        return _Judged("untested", f"No completed trial lies {where} what it says of {name}.")
    return _compare(run, within[0], outside[0], wanted="better", about=name)


def _membership(part: str) -> tuple[str, Callable[[Scalar], bool]] | None:
    """The parameter that a rule's effect speaks of, and which values it asks for."""
    if match := _RANGE.match(part):
        name, low, high = match[1], float(match[2]), float(match[3])
        return name, lambda value: is_number(value) and low <= value <= high
    if match := _CHOICES.match(part):
        name, choices = match[1], match[2].split("|")
        return name, lambda value: str(value) in choices
    return None


def _compare(
    run: RunFiles,
    first: TrialFiles,
    second: TrialFiles,
    *,
    wanted: Literal["better", "worse"],
    about: str = "",
) -> _Judged:
    one, other = validation_losses(first), validation_losses(second)
    if one is None or other is None or one.items.shape[1] != other.items.shape[1]:
        return _Judged("untested", "No losses of single items were kept to compare.")
    estimate = paired_difference(one, other)
    word = outcome(estimate, margin(run.plan.facts.aim.margin_points), higher_is_better=False)
    unit = loss_unit(run.plan.facts.task)
    metric = Metric(name="loss", title="validation loss", higher_is_better=False, unit=unit)
    gap = words.difference(interval(estimate), metric)
    evidence = f"{_named(first, about)} − {_named(second, about)} = {gap}: {word}."
    if word == wanted:
        return _Judged("held", evidence)
    if word in ("better", "worse"):
        return _Judged("contradicted", evidence)
    return _Judged("untested", evidence)


def _named(trial: TrialFiles, parameter: str) -> str:
    value = trial.config.parameters.get(parameter)
    told = words.value(value) if parameter and value is not None else ""
    detail = f"{parameter} {told}" if told else words.short(trial.config.strategy)
    return f"trial {trial.config.number} ({detail})"
