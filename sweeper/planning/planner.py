"""From a request and its facts to a plan. Pure: the same input gives the same plan, to the byte.

Reads no files except the rule book.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

from sweeper import units
from sweeper.data.long_rows import IN_WORDS
from sweeper.errors import NothingFits, Problem, TooLong
from sweeper.facts.record import Facts
from sweeper.hyperparameters import BATCH
from sweeper.metrics.objectives import objective_of
from sweeper.objective import Objective
from sweeper.planning.budget.budget import (
    MIN_PART_ROWS,
    affordable_part,
    in_time,
    make_budget,
    with_price,
)
from sweeper.planning.budget.candidate_costs import TimedCandidate, timed_candidate, workload_of
from sweeper.planning.budget.sequence_cap import Cap
from sweeper.planning.budget.trial_budget import epochs_for_steps
from sweeper.planning.candidates import (
    NOT_ASKED_FOR,
    RatedModel,
    candidate_or_rejected,
    rated_model,
)
from sweeper.planning.costs.corrections import interval_factor
from sweeper.planning.declared_parameters import (
    check_declared,
    declared_epochs,
    declared_warnings,
)
from sweeper.planning.fitting.remedies import nearest_fit
from sweeper.planning.identity import identity
from sweeper.planning.own_trials import checked_own_trials
from sweeper.planning.ranking import runner_up, search_gain, worth
from sweeper.planning.rulebook.apply_rules import fired, notes
from sweeper.planning.rulebook.book import RuleBook, rule_book
from sweeper.planning.user_questions import answers
from sweeper.plans import Candidate, NoPlan, Plan, Reason, Rejected
from sweeper.spec import Spec

_DAY_SECONDS = 24 * 3600.0
# A trial that takes longer is refused, unless the user sets a budget: a choice of this project.
_MAX_TRIAL_SECONDS = 3 * _DAY_SECONDS
# Fewest epochs to which a budget shortens trials: an eighth, after which trials are first
# runner_up, is then a thirtieth of the rows.
_MIN_EPOCHS = 0.25


def make_plan(spec: Spec, facts: Facts) -> Plan:
    """The plan: which strategies compete, over which space, at what cost, and why.

    Raises:
        NothingFits: No strategy can be used; the error lists reasons and remedies.
        SpecError: A budget or a user's trial makes no sense in this plan.
        RuleError: A rule or strategy file has mistakes.
    """
    return plan_with(rule_book(spec.rules), spec, facts)


def plan_with(book: RuleBook, spec: Spec, facts: Facts) -> Plan:
    """The plan of a given rule book; the budget may shorten its trials."""
    objective, facts = objective_of(spec), with_price(spec, facts)
    bases = [rated_model(book, spec, facts, model) for model in facts.models]
    check_declared(book, spec, facts, {base.model.id: base.values for base in bases})
    whole = epochs = epochs_of(spec, facts, bases[0])
    while True:
        try:
            plan = _plan(book, spec, facts, bases, objective, epochs, whole)
            part = affordable_part(spec, plan)
            with contextlib.suppress(TooLong):
                while part is not None:
                    plan = _plan(book, spec, facts, bases, objective, epochs, whole, part)
                    smaller = max(part * 4 // 5, MIN_PART_ROWS)
                    part = None if in_time(spec, plan.budget) or smaller == part else smaller
            return plan
        except TooLong:
            set_by_user = spec.training.epochs is not None or declared_epochs(spec) is not None
            if spec.aim.budget is None or set_by_user or epochs / 2 < _MIN_EPOCHS:
                raise
            epochs /= 2


def _plan(
    book: RuleBook,
    spec: Spec,
    facts: Facts,
    bases: Sequence[RatedModel],
    objective: Objective,
    epochs: float,
    whole: float,
    part: int | None = None,
) -> Plan:
    costs, rejected = _ranked(book, spec, facts, bases, epochs, objective, part)
    candidates = [cost.candidate for cost in costs]
    own_trials = checked_own_trials(book, spec, candidates, rejected, epochs)
    lead = candidates[0]
    _refuse_days(spec, facts, lead)
    base = next(base for base in bases if base.model.id == lead.model)
    rules = fired(book, base.values)
    workload = workload_of(spec, facts, base.model, epochs, objective, part)
    full_tokens = round(epochs * workload.train_rows * base.cap.mean)
    budget = make_budget(spec, facts, costs, workload, full_tokens, objective, part)
    gain = search_gain(budget.trials, new_head=bool(base.values["new_head"]))
    return Plan(
        facts=facts,
        objective=objective,
        recommended=lead.strategy,
        candidates=tuple(candidates),
        runner_up=runner_up(candidates, interval_factor(facts, "best-strategy")),
        rejected=tuple(rejected),
        warnings=(
            *notes(rules, base.values, "warning"),
            *_long_text_warnings(base.cap),
            *_worker_warnings(spec, facts),
            *_sharding_warnings(facts, rejected),
            *_shortened_warnings(epochs, whole),
            *declared_warnings(
                book, spec, candidates, rejected, {base.model.id: base.strategies for base in bases}
            ),
        ),
        advice=notes(rules, base.values, "advice"),
        answers=answers(rules, base.values, candidates, rejected),
        own_trials=own_trials,
        declared=spec.parameters,
        budget=budget,
        search_gain=gain.widened(interval_factor(facts, "search-gain")),
        seed=spec.search.seed,
        identity=identity(spec, facts, objective),
    )


def ranked_candidates(
    book: RuleBook, spec: Spec, facts: Facts
) -> tuple[list[Candidate], list[Rejected]]:
    """The candidates in order and the rejected strategies, without the plan's texts.

    Raises:
        NothingFits: No strategy can be used.
    """
    bases = [rated_model(book, spec, facts, model) for model in facts.models]
    epochs = epochs_of(spec, facts, bases[0])
    costs, rejected = _ranked(book, spec, facts, bases, epochs, objective_of(spec))
    return [cost.candidate for cost in costs], rejected


def _ranked(
    book: RuleBook,
    spec: Spec,
    facts: Facts,
    bases: Sequence[RatedModel],
    epochs: float,
    objective: Objective,
    part: int | None = None,
) -> tuple[list[TimedCandidate], list[Rejected]]:
    """The candidates in the order of their worth, with the times of their trials."""
    rejected: list[Rejected] = []
    # If nothing fits, strategies that rules leave out are included.
    for leave_out in (True, False):
        made = [
            candidate_or_rejected(spec, facts, base, rated, epochs, leave_out=leave_out)
            for base in bases
            for rated in base.strategies.values()
        ]
        workloads = {
            base.model.id: workload_of(spec, facts, base.model, epochs, objective, part)
            for base in bases
        }
        costs = [
            timed_candidate(c, facts, workloads[c.model]) for c in made if isinstance(c, Candidate)
        ]
        rejected = [item for item in made if isinstance(item, Rejected)]
        if costs:
            price = spec.aim.points_per_doubling
            costs.sort(
                key=lambda cost: (
                    -worth(cost.candidate, price),
                    book.strategies[cost.candidate.strategy].order,
                )
            )
            return costs, rejected
    raise _nothing_fits(book, facts, bases, rejected)


def epochs_of(spec: Spec, facts: Facts, base: RatedModel) -> float:
    """The epochs of a full budget in this study: the user's, else those of the best strategy.

    With few rows there are enough epochs for the least number of optimizer steps.
    """
    if spec.training.epochs is not None:
        return spec.training.epochs
    if (declared := declared_epochs(spec)) is not None:
        return declared
    rows = base.cap.items(facts.data.train_rows)
    for name in sorted(base.strategies, key=lambda name: -base.strategies.quality(name).mean):
        rated = base.strategies[name]
        parameter = rated.parameters.get("num_train_epochs")
        if parameter is not None and rated.refused is None:
            batch = rated.parameters.get(BATCH)
            least = int(batch.default) if batch is not None else 1
            return epochs_for_steps(float(parameter.default), least, rows)
    return 1.0


def _refuse_days(spec: Spec, facts: Facts, lead: Candidate) -> None:
    """Refuse a plan whose first trial takes days, unless the user sets a budget.

    Raises:
        TooLong: The trial takes too long; the error suggests alternatives.
    """
    seconds, model = lead.duration.seconds, next(m for m in facts.models if m.id == lead.model)
    if spec.aim.budget is not None or seconds <= _MAX_TRIAL_SECONDS:
        return
    share = _DAY_SECONDS / seconds
    parameters = units.count(round(model.parameters * share))
    where = "a GPU" if facts.hardware.gpus == 0 else "a faster GPU"
    raise TooLong(
        f"one run of {lead.strategy} on {lead.model} takes {units.duration(seconds)} on "
        f"{facts.hardware.name}: a model of about {parameters} parameters, {where}, or "
        f"{max(round(facts.data.examples * share), 1):,} rows (--max-rows) would take a day for "
        "one run",
        fix=f"To plan it nevertheless, give a budget: --budget {math.ceil(seconds / 1800)}h.",
    )


def _shortened_warnings(epochs: float, whole: float) -> tuple[Reason, ...]:
    if epochs == whole:
        return ()
    return (
        Reason(
            rule="budget",
            title="Shorter trials",
            why=f"The budget pays for no trial of {units.epochs(whole)} epochs, so that trials "
            f"have {units.epochs(epochs)}. With less than one, a trial sees a part of the rows.",
            source="the request (--budget)",
        ),
    )


def _long_text_warnings(cap: Cap) -> tuple[Reason, ...]:
    if not cap.many:
        return ()
    return (
        Reason(
            rule="sequence-cap",
            title="Long texts are divided" if cap.becomes == "divided" else "Long texts are cut",
            why=f"{cap.longer} of the examples are longer than the cap of {cap.tokens} tokens "
            f"(the longest: {cap.longest:,}) and {IN_WORDS[cap.becomes]} ({cap.why}).",
            source="measured: token lengths of the data",
        ),
    )


def _worker_warnings(spec: Spec, facts: Facts) -> tuple[Reason, ...]:
    workers, cores = spec.search.workers or 1, facts.hardware.cpu_cores
    on_cpus = facts.hardware.gpus == 0 and spec.search.executor == "local"
    if not on_cpus or cores is None or workers <= cores:
        return ()
    return (
        Reason(
            rule="workers-and-cores",
            title="More workers than cores",
            why=f"{workers} workers would share {cores} cores. More than {cores} save no time, and "
            f"each needs memory for a trial. Give --workers {cores} or fewer.",
            source="detected: cores of this machine",
        ),
    )


def _sharding_warnings(facts: Facts, rejected: Sequence[Rejected]) -> tuple[Reason, ...]:
    """A note, once per plan, if several GPUs together could hold what one cannot."""
    if facts.hardware.gpus < 2 or all(item.needs_gib is None for item in rejected):
        return ()
    return (
        Reason(
            rule="one-gpu",
            title="One GPU must hold the model",
            why="Each GPU holds the whole model. To shard it (FSDP), use Axolotl or LLaMA-Factory.",
            source="a limit of this version",
        ),
    )


def _nothing_fits(
    book: RuleBook, facts: Facts, bases: Sequence[RatedModel], rejected: Sequence[Rejected]
) -> NothingFits:
    """The error for a plan in which nothing fits; it begins with the strategy nearest to
    fitting."""
    strategies: dict[tuple[str, str, str], list[str]] = {}
    for item in rejected:
        if item.reason != NOT_ASKED_FOR:
            key = (item.model, item.reason, item.remedy)
            strategies.setdefault(key, []).append(item.strategy)
    sentence, nearest_reason = nearest_fit(facts, rejected)
    others = [
        Problem(f"{', '.join(names)} cannot be used for {model}: {reason}", "", remedy)
        for (model, reason, remedy), names in strategies.items()
        if reason != nearest_reason
    ]
    unsharded = _sharding_warnings(facts, rejected)
    others += [Problem(reason.why) for reason in unsharded]
    error = NothingFits([Problem(sentence), *others])
    values = bases[0].values
    rules = fired(book, values)
    error.plan = NoPlan(
        facts=facts,
        nearest=sentence,
        rejected=tuple(rejected),
        warnings=(*notes(rules, values, "warning"), *unsharded),
        advice=notes(rules, values, "advice"),
    ).to_json()
    return error
