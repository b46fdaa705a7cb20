"""The time of scoring the suite."""

from __future__ import annotations

import math

from sweeper import units
from sweeper.features.parts import record_of
from sweeper.features.suite.facts import SuiteFacts, SuiteTaskFacts
from sweeper.planning.budget.candidate_costs import BETWEEN_SECONDS, clock_of_base, clock_of_default
from sweeper.planning.budget.study_phases import StudyPhases
from sweeper.planning.costs.trial_seconds import Clock
from sweeper.plans import PhaseCost
from sweeper.spec import Spec


def plan_phase(spec: Spec, study: StudyPhases) -> PhaseCost | None:
    """Base and finalists on all tasks; None where no suite is scored."""
    suite = record_of(study.facts.features, "suite", SuiteFacts)
    if suite is None:
        return None
    if study.workload.classes:
        note = "The suite is not scored: models that end in a classification head write no text."
        return PhaseCost(title="suite", seconds=0.0, planned=False, notes=(note,))
    exact = suite.measured_with == "lm-eval"
    return PhaseCost(
        title=f"suite: base and finalists on {units.plural(len(suite.tasks), 'task')}",
        flag="--suite",
        seconds=_seconds(study, suite),
        uncertainty=max((_uncertainty(task, exact=exact) for task in suite.tasks), default=1.0),
        cheaper="Give its tasks a limit (metadata: {limit: 100}), or score it after the sweep with "
        "'sweeper evaluate suite'.",
        notes=_unread(suite),
    )


# Measured on two cores with lm-eval 0.4.13: SmolLM2-135M was asked for its first item 6.4 s after
# the process began, which ended 2.1 s after the last one.
_START_SECONDS = 8.5
# As sweeper's suite process has it: no padding on a CPU, and on a GPU lm-eval's own largest batch,
# below which it goes where memory is short. Texts are read in windows of at most so many tokens.
_BATCH = {"cpu": 1, "cuda": 64}
_WINDOW = 2048
# Where the data are not on this machine: between HumanEval (164 items, arXiv:2107.03374) and MMLU
# (14,042, arXiv:2009.03300); a group has up to MMLU's 57 members.
_ITEMS, _MEMBERS = (164, 14_042), (1, 57)
# Tokens of an example at four bytes a token: 97 in MMLU, 113 in HumanEval, 134 in GSM8K.
_EXAMPLE_TOKENS, _EXAMPLE_UNCERTAINTY = 115.0, 2.5
# Prompts whose length is read from rows, against those that lm-eval builds: 60 tokens for 56 with
# two solved examples; 617 for 320 in MMLU with five, which are shorter than its questions.
_ROWS_UNCERTAINTY = 1.5
# Passes an item: one, or one for each of four choices that are longer than a token.
_REQUESTS, _REQUESTS_UNCERTAINTY = 2.0, 2.0
# An answer ends at its stop or at the longest that is allowed; which of them, no plan knows. A task
# of unknown kind may write nothing, or as much as lm-eval allows where a task does not say.
_ANSWER_SHARE, _UNKNOWN_ANSWER, _ANSWER_UNCERTAINTY = 0.5, 32.0, 2.0


def _seconds(study: StudyPhases, suite: SuiteFacts) -> float:
    """The finalists and the first base on all tasks.

    A base that an earlier run has scored is not scored again, which no plan sees.
    """
    facts, costs, case = study.facts, study.costs, study.workload
    batch = _BATCH[facts.hardware.device]

    def taken(clock: Clock) -> float:
        window = min(_WINDOW, clock.model.context_length)
        return BETWEEN_SECONDS + sum(_task(task, clock, batch, window) for task in suite.tasks)

    tuned = [taken(clock_of_default(cost.candidate, facts, case)) for cost in costs]
    base = taken(clock_of_base(costs[0].candidate, facts, case))
    return _START_SECONDS + study.search.finalists * sum(tuned) / len(tuned) + base


def _task(task: SuiteTaskFacts, clock: Clock, batch: int, window: int) -> float:
    """Seconds of one model on one task."""
    prompt = max(1.0, task.prompt_tokens or _EXAMPLE_TOKENS * (task.shots + 1))
    answer = _ANSWER_SHARE * task.max_new_tokens if task.output_type else _UNKNOWN_ANSWER
    length = min(prompt, window)
    each = clock.text(length, batch) * prompt / length * (task.requests or _REQUESTS)
    each += clock.generating(1, answer, batch) / batch
    low, high = _items(task)
    return math.sqrt(low * high) * each


def _uncertainty(task: SuiteTaskFacts, *, exact: bool) -> float:
    """The factor between what a task may take and what is expected."""
    low, high = _items(task)
    factor = math.sqrt(high / low)
    if task.prompt_tokens is None:
        factor *= _EXAMPLE_UNCERTAINTY
    elif not exact:
        factor *= _ROWS_UNCERTAINTY
    factor *= _REQUESTS_UNCERTAINTY if task.requests is None else 1.0
    return factor * (_ANSWER_UNCERTAINTY if task.max_new_tokens or not task.output_type else 1.0)


def _items(task: SuiteTaskFacts) -> tuple[float, float]:
    """The fewest and the most items of a task; equal where its data are here."""
    if task.items is not None:
        return task.items, task.items
    if task.limit is not None:
        return task.limit * _MEMBERS[0], task.limit * _MEMBERS[1]
    return _ITEMS


def _unread(suite: SuiteFacts) -> tuple[str, ...]:
    """Which of the tasks' sizes are assumed."""
    unread = [task for task in suite.tasks if task.prompt_tokens is None]
    if not unread:
        return ()
    low, high = (sum(_items(task)[end] for task in unread) for end in (0, 1))
    items = f"{low:,.0f} to {high:,.0f} items" if low < high else f"{low:,.0f} items"
    return (
        f"The data of {', '.join(task.name for task in unread)} are not on this machine: the time "
        f"of the suite assumes {items} of about {_EXAMPLE_TOKENS:.0f} tokens there, and as much "
        "for each solved example.",
    )
