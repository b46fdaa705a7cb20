"""Makes the plan of a request from its facts. Reads no files except the rule book.

The same request and facts give the same plan, byte for byte.
"""

from __future__ import annotations

import bisect
import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sweeper import units
from sweeper.data.long_rows import IN_WORDS
from sweeper.errors import NothingFits, Problem, TooLong
from sweeper.facts.models.catalogue import MIN_PARAMETERS
from sweeper.facts.record import Facts
from sweeper.hyperparameters import BATCH
from sweeper.metrics.objectives import objective_of
from sweeper.objective import Objective
from sweeper.planning.budget.budget import MIN_PART_ROWS, in_time, make_budget, with_price
from sweeper.planning.budget.study_phases import TimedCandidate, timed_candidate, workload_of
from sweeper.planning.budget.trial_budget import Cap, epochs_for_steps
from sweeper.planning.candidates import (
    NOT_ASKED_FOR,
    RatedModel,
    candidate_or_rejected,
    rated_model,
)
from sweeper.planning.costs.corrections import interval_factor
from sweeper.planning.declared_parameters import check_declared, declared_epochs, declared_warnings
from sweeper.planning.fitting import nearest_fit
from sweeper.planning.identity import identity
from sweeper.planning.own_trials import checked_own_trials
from sweeper.planning.ranking import runner_up, search_gain, worth
from sweeper.planning.rulebook.apply_rules import fired, notes
from sweeper.planning.rulebook.book import RuleBook, rule_book
from sweeper.planning.user_questions import answers
from sweeper.plans import Budget, Candidate, NoPlan, Plan, Reason, Rejected
from sweeper.spec import Spec

_DAY_SECONDS = 24 * 3600.0
# Unless the user sets a budget, a longer sweep is refused, and a single training is offered in its
# place if it takes at most three days: choices of this project.
_MAX_SWEEP_SECONDS, _MAX_TRAINING_SECONDS = 7 * _DAY_SECONDS, 3 * _DAY_SECONDS
# Fewest rows that are offered in place of a study that is too long. Fewer would not shorten it,
# since few rows get more epochs (``epochs_for_steps``).
_MIN_OFFERED_ROWS = 500
# Fewest epochs to which a budget shortens trials. The first rung, an eighth of a trial, then comes
# after a thirtieth of the rows.
_MIN_EPOCHS = 0.25
# Ratio of one number of rows to the one before, in the search for the largest number that fits the
# time when a study on all rows takes too long.
_PART_STEP = 1.02


class _Request(NamedTuple):
    """The request with its facts, and its base models after the rules."""

    book: RuleBook
    spec: Spec
    facts: Facts
    bases: Sequence[RatedModel]
    objective: Objective

    def base_of(self, candidate: Candidate) -> RatedModel:
        return next(base for base in self.bases if base.model.id == candidate.model)


class _Study(NamedTuple):
    """The ranked candidates and the budget, for some number of rows and epochs.

    Args:
        candidates: With the times of trials on the rows of the study.
        ranked: The same candidates with the times of trials on all rows, which decide their order.
    """

    candidates: tuple[Candidate, ...]
    budget: Budget
    ranked: Sequence[Candidate]


def make_plan(spec: Spec, facts: Facts) -> Plan:
    """The plan: which strategies compete, over which space, at what cost, and why.

    Raises:
        NothingFits: No strategy can be used; the error lists reasons and remedies.
        SpecError: A budget or a user's trial makes no sense in this plan.
        RuleError: A rule or strategy file has mistakes.
    """
    return plan_with(rule_book(spec.rules), spec, facts)


def plan_with(book: RuleBook, spec: Spec, facts: Facts) -> Plan:
    """The plan by a given rule book.

    If the budget does not pay for a trial, epochs that the user did not set are halved until it
    does.
    """
    request = _request(book, spec, with_price(spec, facts))
    bases = request.bases
    check_declared(book, spec, request.facts, {base.model.id: base.values for base in bases})
    full_epochs = epochs = epochs_of(spec, facts, bases[0])
    while True:
        try:
            return _plan(request, epochs, full_epochs)
        except TooLong:
            set_by_user = spec.training.epochs is not None or declared_epochs(spec) is not None
            if spec.aim.budget is None or set_by_user or epochs / 2 < _MIN_EPOCHS:
                raise
            epochs /= 2


def _request(book: RuleBook, spec: Spec, facts: Facts) -> _Request:
    bases = [rated_model(book, spec, facts, model) for model in facts.models]
    return _Request(book, spec, facts, bases, objective_of(spec))


def _plan(request: _Request, epochs: float, full_epochs: float) -> Plan:
    """The plan with trials of ``epochs``, shortened from ``full_epochs`` if these are more."""
    book, spec, facts, bases, objective = request
    candidates, rejected = _candidates(request, epochs)
    study = _study(request, candidates, epochs)
    _refuse_long_study(spec, facts, study)
    lead = study.candidates[0]
    base = request.base_of(lead)
    rules, rated = fired(book, base.values), {each.model.id: each.strategies for each in bases}
    gain = search_gain(study.budget.trials, new_head=bool(base.values["new_head"]))
    return Plan(
        facts=facts,
        objective=objective,
        recommended=lead.strategy,
        candidates=study.candidates,
        runner_up=runner_up(study.ranked, interval_factor(facts, "best-strategy")),
        rejected=tuple(rejected),
        warnings=(
            *notes(rules, base.values, "warning"),
            *_warnings(spec, facts, base.cap, rejected),
            *_budget_warnings(epochs, full_epochs),
            *declared_warnings(book, spec, candidates, rejected, rated),
        ),
        advice=notes(rules, base.values, "advice"),
        answers=answers(rules, base.values, study.candidates, rejected),
        own_trials=checked_own_trials(book, spec, facts.models, candidates, rejected, epochs),
        declared=spec.parameters,
        budget=study.budget,
        search_gain=gain.widened(interval_factor(facts, "search-gain")),
        seed=spec.search.seed,
        identity=identity(spec, facts, objective),
    )


def ranked_candidates(
    book: RuleBook, spec: Spec, facts: Facts
) -> tuple[list[Candidate], list[Rejected]]:
    """The candidates of a plan, in order, and the rejected strategies.

    Raises:
        NothingFits: No strategy can be used.
    """
    request = _request(book, spec, facts)
    epochs = epochs_of(spec, facts, request.bases[0])
    candidates, rejected = _candidates(request, epochs)
    return [timed.candidate for timed in _ranked(request, candidates, epochs)], rejected


def _candidates(request: _Request, epochs: float) -> tuple[list[Candidate], list[Rejected]]:
    """The strategies that can be used with each base model, and those that cannot."""
    for leave_out in (True, False):  # if nothing fits, strategies that rules leave out compete too
        made = [
            candidate_or_rejected(
                request.spec, request.facts, base, rated, epochs, leave_out=leave_out
            )
            for base in request.bases
            for rated in base.strategies.values()
        ]
        candidates = [item for item in made if isinstance(item, Candidate)]
        rejected = [item for item in made if isinstance(item, Rejected)]
        if candidates:
            return candidates, rejected
    raise _nothing_fits(request, rejected)


def _timed(
    request: _Request, candidates: Sequence[Candidate], epochs: float, part: int | None = None
) -> list[TimedCandidate]:
    """The candidates with the times of their trials.

    Args:
        part: Number of rows that the search trains on; None for all.
    """
    _, spec, facts, bases, objective = request
    workloads = {
        base.model.id: workload_of(spec, facts, base.model, epochs, objective, part)
        for base in bases
    }
    return [timed_candidate(item, facts, workloads[item.model]) for item in candidates]


def _ranked(
    request: _Request, candidates: Sequence[Candidate], epochs: float
) -> list[TimedCandidate]:
    """The candidates by their worth on all rows, the best first; equal ones by ``order``."""
    strategies, points = request.book.strategies, request.spec.aim.points_per_doubling

    def key(timed: TimedCandidate) -> tuple[float, int]:
        return -worth(timed.candidate, points), strategies[timed.candidate.strategy].order

    return sorted(_timed(request, candidates, epochs), key=key)


def _study(request: _Request, candidates: Sequence[Candidate], epochs: float) -> _Study:
    """The study on all rows or, if that takes too long, on as many rows as fit the time.

    Raises:
        TooLong: The budget has no room for a trial on all rows.
    """
    spec, facts, on_all_rows = request.spec, request.facts, _ranked(request, candidates, epochs)
    ranked = [timed.candidate for timed in on_all_rows]

    def study_of(part: int | None = None) -> _Study:
        timed_candidates = _timed(request, ranked, epochs, part) if part else on_all_rows
        base = request.base_of(timed_candidates[0].candidate)
        workload = workload_of(spec, facts, base.model, epochs, request.objective, part)
        budget = make_budget(spec, facts, timed_candidates, workload, part)
        return _Study(tuple(timed.candidate for timed in timed_candidates), budget, ranked)

    def takes_too_long(part: int) -> bool:
        try:
            return not in_time(spec, study_of(part).budget)
        except TooLong:
            return True

    study, rows = study_of(), facts.data.train_rows
    if spec.search.trials == 1 or rows <= MIN_PART_ROWS or in_time(spec, study.budget):
        return study
    steps = math.ceil(math.log(rows / MIN_PART_ROWS, _PART_STEP))
    parts = [100 * round(MIN_PART_ROWS * _PART_STEP**step / 100) for step in range(steps)]
    first_too_long = bisect.bisect_left(parts, True, key=takes_too_long)
    with contextlib.suppress(TooLong):  # no budget for a trial on the smallest part: keep all rows
        study = study_of(parts[max(first_too_long - 1, 0)])
    return study


def epochs_of(spec: Spec, facts: Facts, base: RatedModel) -> float:
    """The epochs of a full budget in this study: the user's, else those of the best strategy.

    The rule book's epochs are raised where few rows give fewer than ``MIN_STEPS`` optimizer steps.
    """
    if spec.training.epochs is not None:
        return spec.training.epochs
    if (declared := declared_epochs(spec)) is not None:
        return declared
    item_count = base.cap.items(facts.data.train_rows)  # more than rows if long texts are divided
    for rated in sorted(base.strategies.values(), key=lambda rated: -rated.quality.mean):
        parameter = rated.parameters.get("num_train_epochs")
        if parameter is not None and rated.refused is None:
            batch = rated.parameters.get(BATCH)
            batch_size = int(batch.default) if batch is not None else 1
            return epochs_for_steps(float(parameter.default), batch_size, item_count)
    return 1.0


def _refuse_long_study(spec: Spec, facts: Facts, study: _Study) -> None:
    """Refuse a study of more than a week, unless the user sets a budget.

    Raises:
        TooLong: The study takes too long; the error says what would be reasonable instead.
    """
    lead, budget = study.candidates[0], study.budget
    seconds, training = budget.sweep.seconds, budget.phases.get("refit", lead.duration).seconds
    if spec.aim.budget is not None or seconds <= _MAX_SWEEP_SECONDS:
        return
    one_is_too_long = training > _MAX_TRAINING_SECONDS
    share = _DAY_SECONDS / (training if one_is_too_long else seconds)
    model = next(model for model in facts.models if model.id == lead.model)
    rows, parameters = round(facts.data.examples * share), round(model.parameters * share)
    count = units.count(parameters)
    ways = [f"a model of about {count} parameters"] if parameters >= MIN_PARAMETERS else []
    ways += [f"{rows:,} rows (--max-rows)"] if rows >= _MIN_OFFERED_ROWS else []
    what, instead = f"one training takes {units.duration(training)}", "--trials 1 with "
    if not one_is_too_long:
        what = f"{budget.trials} trials take {units.duration(seconds)}"
        instead = f"one training (--trials 1: {units.duration(training)}), "
    ways += ["a faster GPU" if facts.hardware.gpus else "a GPU"]
    raise TooLong(
        f"{what} with {lead.strategy} on {lead.model} on {facts.hardware.name}; "
        f"a reasonable alternative: {instead}{units.joined(ways, 'or')}",
        fix="To plan this study nevertheless, give a budget: "
        f"--budget {math.ceil(budget.sweep.high / 3600)}h.",
    )


def _warnings(spec: Spec, facts: Facts, cap: Cap, rejected: Sequence[Rejected]) -> Iterator[Reason]:
    """Warnings about the cap, the workers and the GPUs."""
    if cap.many:
        yield Reason(
            rule="sequence-cap",
            title="Long texts are divided" if cap.becomes == "divided" else "Long texts are cut",
            why=f"{cap.longer} of the examples are longer than the cap of {cap.tokens} tokens "
            f"(the longest: {cap.longest:,}) and {IN_WORDS[cap.becomes]} ({cap.why}).",
            source="measured: token lengths of the data",
        )
    workers, cores = spec.search.workers or 1, facts.hardware.cpu_cores
    on_cpus = facts.hardware.gpus == 0 and spec.search.executor == "local"
    if on_cpus and cores is not None and workers > cores:
        yield Reason(
            rule="workers-and-cores",
            title="More workers than cores",
            why=f"{workers} workers would share {cores} cores. More than {cores} save no time, and "
            f"each needs memory for a trial. Give --workers {cores} or fewer.",
            source="detected: cores of this machine",
        )
    yield from _sharding_warnings(facts, rejected)


def _budget_warnings(epochs: float, full_epochs: float) -> Iterator[Reason]:
    """A warning if the user's budget shortened trials."""
    if epochs != full_epochs:
        yield Reason(
            rule="budget",
            title="Shorter trials",
            why=f"The budget pays for no full trial (epochs: {units.epochs(full_epochs)}), so each "
            f"has {units.epochs(epochs)}. With less than one, a trial sees a part of the rows.",
            source="the request (--budget)",
        )


def _sharding_warnings(facts: Facts, rejected: Sequence[Rejected]) -> tuple[Reason, ...]:
    """One warning if there are several GPUs and a strategy does not fit one of them."""
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


def _nothing_fits(request: _Request, rejected: Sequence[Rejected]) -> NothingFits:
    """The error for a plan in which nothing fits. Its first problem is the strategy that comes
    nearest to fitting."""
    strategies: dict[tuple[str, str, str], list[str]] = {}
    for item in rejected:
        if item.reason != NOT_ASKED_FOR:
            key = (item.model, item.reason, item.remedy)
            strategies.setdefault(key, []).append(item.strategy)
    facts = request.facts
    sentence, nearest_reason = nearest_fit(facts, rejected)
    others = [
        Problem(f"{', '.join(names)} cannot be used for {model}: {reason}", "", remedy)
        for (model, reason, remedy), names in strategies.items()
        if reason != nearest_reason
    ]
    unsharded = _sharding_warnings(facts, rejected)
    others += [Problem(reason.why) for reason in unsharded]
    error = NothingFits([Problem(sentence), *others])
    values = request.bases[0].values
    rules = fired(request.book, values)
    error.plan = NoPlan(
        facts=facts,
        nearest=sentence,
        rejected=tuple(rejected),
        warnings=(*notes(rules, values, "warning"), *unsharded),
        advice=notes(rules, values, "advice"),
    ).to_json()
    return error
