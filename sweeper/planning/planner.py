"""From a request and its facts to a plan. Pure: the same input gives the same plan, to the byte.

Reads no files but the rule book.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.errors import NothingFits, Problem
from sweeper.facts.record import Facts
from sweeper.plan import Candidate, Plan, Reason, Rejected
from sweeper.planning.answers import answers
from sweeper.planning.budget.budget import make_budget
from sweeper.planning.budget.candidate_costs import course_of, priced
from sweeper.planning.budget.rung_schedule import looks_of
from sweeper.planning.budget.sequence_cap import USUAL, Cap
from sweeper.planning.candidates import (
    NOT_ASKED_FOR,
    Outlook,
    entry,
    outlook_of,
    validation_rows,
)
from sweeper.planning.identity import identity
from sweeper.planning.own_trials import checked_own_trials
from sweeper.planning.rulebook.apply_rules import fired, notes
from sweeper.planning.rulebook.rules import RuleBook, rule_book
from sweeper.spec import Spec


def make_plan(spec: Spec, facts: Facts) -> Plan:
    """Which strategies compete, over which space, at what cost, and why.

    Args:
        spec: The request.
        facts: What is known of models, data and machine.

    Raises:
        NothingFits: No strategy can be used; with every reason and remedy.
        SpecError: A budget or an own configuration makes no sense in this plan.
        RuleError: A rule or strategy file holds mistakes.
    """
    return plan_with(rule_book(spec.rules), spec, facts)


def plan_with(book: RuleBook, spec: Spec, facts: Facts) -> Plan:
    """``make_plan`` with a given rule book."""
    scenes = [outlook_of(book, spec, facts, model) for model in facts.models]
    epochs = _epochs(spec, scenes[0])
    candidates, rejected = _ranked(book, spec, facts, scenes, epochs)
    own_trials = checked_own_trials(spec.trials, candidates, rejected)
    lead = candidates[0]
    scene = next(scene for scene in scenes if scene.model.id == lead.model)
    rules = fired(book, scene.values)
    validation = validation_rows(spec, facts)
    full_tokens = round(epochs * facts.data.train_rows * scene.cap.mean)
    course = course_of(
        spec,
        facts,
        scene.model,
        epochs=epochs,
        looks=looks_of(spec, facts, scene.cap, validation, epochs),
        validation_rows=validation,
    )
    costs = [priced(candidate, facts, course) for candidate in candidates]
    candidates = [cost.candidate for cost in costs]
    return Plan(
        facts=facts,
        recommended=lead.strategy,
        candidates=tuple(candidates),
        rejected=tuple(rejected),
        warnings=(*notes(rules, scene.values, "warning"), *_cut(scene.cap)),
        advice=notes(rules, scene.values, "advice"),
        answers=answers(rules, scene.values, facts, candidates, rejected),
        own_trials=own_trials,
        budget=make_budget(spec, facts, costs, course, full_tokens),
        seed=spec.search.seed,
        identity=identity(spec, facts),
    )


def outlook(book: RuleBook, spec: Spec, facts: Facts) -> tuple[list[Candidate], list[Rejected]]:
    """The candidates in order and the rejected strategies, without the plan's texts.

    Raises:
        NothingFits: No strategy can be used.
    """
    scenes = [outlook_of(book, spec, facts, model) for model in facts.models]
    return _ranked(book, spec, facts, scenes, _epochs(spec, scenes[0]))


def _ranked(
    book: RuleBook, spec: Spec, facts: Facts, scenes: Sequence[Outlook], epochs: float
) -> tuple[list[Candidate], list[Rejected]]:
    candidates, rejected = _entries(spec, facts, scenes, epochs, leave_out=True)
    if not candidates:
        # Nothing else fits: a strategy that rules leave out is better than no plan.
        candidates, rejected = _entries(spec, facts, scenes, epochs, leave_out=False)
    if not candidates:
        raise NothingFits(_problems(rejected))
    order = {name: strategy.order for name, strategy in book.strategies.items()}
    candidates.sort(key=lambda c: (-c.score, order[c.strategy]))
    return candidates, rejected


def _epochs(spec: Spec, scene: Outlook) -> float:
    """One full budget for the whole study: the user's, else that of the best-scored strategy."""
    if spec.training.epochs is not None:
        return spec.training.epochs
    ranked = sorted(scene.standings.values(), key=lambda s: -s.score)
    for standing in ranked:
        parameter = standing.parameters.get("num_train_epochs")
        if parameter is not None and standing.refused is None:
            return float(parameter.default)
    return 1.0


def _entries(
    spec: Spec, facts: Facts, scenes: Sequence[Outlook], epochs: float, *, leave_out: bool
) -> tuple[list[Candidate], list[Rejected]]:
    candidates: list[Candidate] = []
    rejected: list[Rejected] = []
    for scene in scenes:
        for standing in scene.standings.values():
            made = entry(spec, facts, scene, standing, epochs, leave_out=leave_out)
            if isinstance(made, Candidate):
                candidates.append(made)
            else:
                rejected.append(made)
    return candidates, rejected


def _cut(cap: Cap) -> tuple[Reason, ...]:
    if cap.cuts in ("", USUAL):
        return ()
    return (
        Reason(
            rule="sequence-cap",
            title="Long texts are cut",
            why=f"{cap.cuts} of the examples are longer than the cap of {cap.tokens} tokens "
            f"and {cap.fate} ({cap.why}).",
            source="measured: token lengths of the data",
        ),
    )


def _problems(rejected: Sequence[Rejected]) -> list[Problem]:
    """One problem for each reason, without strategies that were not asked for."""
    strategies: dict[tuple[str, str, str], list[str]] = {}
    for item in rejected:
        if item.reason != NOT_ASKED_FOR:
            key = (item.model, item.reason, item.remedy)
            strategies.setdefault(key, []).append(item.strategy)
    return [
        Problem(f"{', '.join(names)} cannot be used for {model}: {reason}", "", remedy)
        for (model, reason, remedy), names in strategies.items()
    ]
