"""The time of scoring the suite."""

from __future__ import annotations

import math
from typing import NamedTuple

from sweeper import units
from sweeper.features.parts import record_of
from sweeper.features.suite._facts import SuiteFacts, SuiteTaskFacts
from sweeper.planning.budget.candidate_costs import (
    BETWEEN_SECONDS,
    clock_of_base,
    clock_of_default,
)
from sweeper.planning.budget.study_phases import StudyPhases
from sweeper.planning.costs.trial_seconds import Clock
from sweeper.plans import Duration, PhaseCost
from sweeper.spec import Spec


def plan_phase(spec: Spec, study: StudyPhases) -> PhaseCost | None:
    """Base and finalists on all tasks; None where no suite is scored."""
    suite = record_of(study.facts.features, "suite", SuiteFacts)
    if suite is None:
        return None
    if study.course.classes:
        note = "The suite is not scored: models that end in a classification head write no text."
        nothing = Duration(seconds=0.0, low=0.0, high=0.0)
        return PhaseCost(title="suite", duration=nothing, planned=False, notes=(note,))
    return PhaseCost(
        title=f"suite: base and finalists on {units.plural(len(suite.tasks), 'task')}",
        flag="--suite",
        duration=_seconds(study, suite),
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
_EXAMPLE_TOKENS = (60.0, 115.0, 300.0)
# Prompts whose length is read from rows, against those that lm-eval builds: 60 tokens for 56 with
# two solved examples; 617 for 320 in MMLU with five, which are shorter than its questions.
_READ_FROM_ROWS = (0.5, 1.0, 1.3)
# Passes an item: one, or one for each of four choices that are longer than a token.
_REQUESTS = (1.0, 2.0, 4.0)
# An answer ends at its stop or at the longest that is allowed; which of them, no plan knows. A task
# of unknown kind may write nothing, or as much as lm-eval allows where a task does not say.
_ANSWER_SHARES, _UNKNOWN_ANSWER = (0.05, 0.5, 1.0), (0.0, 32.0, 256.0)


_Ends = tuple[float, float, float]
"""Least, expected and most."""


class _Work(NamedTuple):
    """The work of one task for a model."""

    items: _Ends
    prompt_tokens: _Ends
    requests: _Ends
    answer_tokens: _Ends

    def seconds(self, clock: Clock, batch: int, window: int, end: int) -> float:
        """Of one model, at one end of the ranges (0 to 2)."""
        prompt = max(1.0, self.prompt_tokens[end])
        length = min(prompt, window)
        each = clock.reading(length, batch) * prompt / length * self.requests[end]
        each += clock.generating(1, self.answer_tokens[end], batch) / batch
        return self.items[end] * each


def _seconds(study: StudyPhases, suite: SuiteFacts) -> Duration:
    """The finalists and their bases on all tasks.

    A base that an earlier run has scored is not scored again, which no plan sees: the low end
    leaves the bases out. The high end has one for each base model.
    """
    facts, costs, course = study.facts, study.costs, study.course
    finalists = study.search.finalists
    clocks = [clock_of_default(cost.candidate, facts, course) for cost in costs]
    bases = {c.candidate.model: clock_of_base(c.candidate, facts, course) for c in costs}
    exact = suite.measured_with == "lm-eval"
    works = [_work(task, exact=exact) for task in suite.tasks]
    batch = _BATCH[facts.hardware.device]

    def taken(clock: Clock, end: int) -> float:
        window = min(_WINDOW, clock.model.context_length)
        return BETWEEN_SECONDS + sum(work.seconds(clock, batch, window, end) for work in works)

    def whole(end: int) -> float:
        tuned = sum(taken(clock, end) for clock in clocks) / len(clocks)
        base = [taken(clock, end) for clock in bases.values()]
        scored = (0.0, base[0], sum(base[: max(finalists, 1)]))[end]
        return _START_SECONDS + finalists * tuned + scored

    return study.range(*(whole(end) for end in range(3)))


def _unread(suite: SuiteFacts) -> tuple[str, ...]:
    """Which of the tasks' sizes are assumed."""
    unread = [task for task in suite.tasks if task.prompt_tokens is None]
    if not unread:
        return ()
    low, high = (sum(_items(task)[end] for task in unread) for end in (0, 2))
    items = f"{low:,.0f} to {high:,.0f} items" if low < high else f"{low:,.0f} items"
    return (
        f"The data of {', '.join(task.name for task in unread)} are not on this machine: the time "
        f"of the suite assumes {items} of {_EXAMPLE_TOKENS[0]:.0f} to {_EXAMPLE_TOKENS[2]:.0f} "
        "tokens there, and as much for each solved example.",
    )


def _work(task: SuiteTaskFacts, *, exact: bool) -> _Work:
    prompts = _times(_EXAMPLE_TOKENS, task.shots + 1)
    if task.prompt_tokens is not None:
        prompts = _times((1.0, 1.0, 1.0) if exact else _READ_FROM_ROWS, task.prompt_tokens)
    return _Work(
        items=_items(task),
        prompt_tokens=prompts,
        requests=_REQUESTS if task.requests is None else (task.requests,) * 3,
        answer_tokens=_times(_ANSWER_SHARES, task.max_new_tokens)
        if task.output_type
        else _UNKNOWN_ANSWER,
    )


def _times(ends: _Ends, factor: float) -> _Ends:
    low, middle, high = ends
    return low * factor, middle * factor, high * factor


def _items(task: SuiteTaskFacts) -> _Ends:
    if task.items is not None:
        return (float(task.items),) * 3
    low, high = _ITEMS
    if task.limit is not None:
        low, high = task.limit * _MEMBERS[0], task.limit * _MEMBERS[1]
    return float(low), math.sqrt(low * high), float(high)
