"""Estimates the time of scoring the suite."""

from __future__ import annotations

import math

from sweeper import units
from sweeper.features.parts import record_of
from sweeper.features.suite.facts import SuiteFacts, SuiteTaskFacts
from sweeper.planning.budget.study_phases import (
    BETWEEN_SECONDS,
    StudyPhases,
    base_times,
    default_times,
)
from sweeper.planning.costs.trial_seconds import SetupTimes
from sweeper.plans import PhaseCost
from sweeper.spec import Spec


def plan_phase(spec: Spec, study: StudyPhases) -> PhaseCost | None:
    """The phase that scores base and finalists on all tasks; None if there is no suite."""
    suite = record_of(study.facts.features, "suite", SuiteFacts)
    if suite is None:
        return None
    if study.workload.classes:
        note = "The suite is not scored: models that end in a classification head write no text."
        return PhaseCost(title="suite", seconds=0.0, planned=False, notes=(note,))
    lengths_exact = suite.measured_with == "lm-eval"
    return PhaseCost(
        title=f"suite: base and finalists on {units.plural(len(suite.tasks), 'task')}",
        flag="--suite",
        seconds=_seconds(study, suite),
        uncertainty=max(
            (_uncertainty(task, exact=lengths_exact) for task in suite.tasks), default=1.0
        ),
        cheaper="Give its tasks a limit (metadata: {limit: 100}), or score it after the sweep with "
        "'sweeper evaluate suite'.",
        notes=_assumption_notes(suite),
    )


# Measured on two cores with lm-eval 0.4.13 and SmolLM2-135M: 6.4 s from the start of the process to
# the first item, and 2.1 s from the last item to its end.
_START_SECONDS = 8.5
# Items of a batch. On a GPU it is lm-eval's largest, which it lowers if memory is short.
_BATCH = {"cpu": 1, "cuda": 64}
# Tokens of the longest window of a text.
_MAX_WINDOW = 2048
# Items of a task, and members of a group, whose data are not on this machine: between HumanEval
# (164 items, arXiv:2107.03374) and MMLU (14,042 in 57 tasks, arXiv:2009.03300).
_ITEMS, _MEMBERS = (164, 14_042), (1, 57)
# Tokens of an example at four bytes a token: 97 in MMLU, 113 in HumanEval, 134 in GSM8K.
_EXAMPLE_TOKENS, _EXAMPLE_UNCERTAINTY = 115.0, 2.5
# Factor by which prompt tokens may differ from an estimate from rows. Measured: 60 estimated and 56
# real ones with two solved examples; 617 and 320 in MMLU with five, which are shorter than its
# questions.
_ROWS_UNCERTAINTY = 1.5
# Forward passes for an item: one to four, as each of four choices longer than a token needs one.
_REQUESTS, _REQUESTS_UNCERTAINTY = 2.0, 2.0
# Expected length of an answer: a share of the longest output, or tokens if the output type is
# unknown.
_ANSWER_SHARE, _UNKNOWN_ANSWER_TOKENS, _ANSWER_UNCERTAINTY = 0.5, 32.0, 2.0


def _seconds(study: StudyPhases, suite: SuiteFacts) -> float:
    """Expected seconds for the finalists and the first base on all tasks.

    Ignores scores of the base from earlier runs.
    """
    facts, candidates, workload = study.facts, study.candidates, study.workload
    batch = _BATCH[facts.hardware.device]

    def seconds_of(times: SetupTimes) -> float:
        window = min(_MAX_WINDOW, times.model.context_length)
        return BETWEEN_SECONDS + sum(
            _task_seconds(task, times, batch, window) for task in suite.tasks
        )

    tuned = [seconds_of(default_times(timed.candidate, facts, workload)) for timed in candidates]
    base = seconds_of(base_times(candidates[0].candidate, facts, workload))
    return _START_SECONDS + study.search.finalists * sum(tuned) / len(tuned) + base


def _task_seconds(task: SuiteTaskFacts, times: SetupTimes, batch: int, window: int) -> float:
    """Seconds of one model on one task."""
    prompt = max(1.0, task.prompt_tokens or _EXAMPLE_TOKENS * (task.shots + 1))
    answer = _ANSWER_SHARE * task.max_new_tokens if task.output_type else _UNKNOWN_ANSWER_TOKENS
    length = min(prompt, window)
    item_seconds = (
        times.text_seconds(length, batch) * prompt / length * (task.requests or _REQUESTS)
    )
    item_seconds += times.generation_seconds(1, answer, batch) / batch
    low, high = _item_range(task)
    return math.sqrt(low * high) * item_seconds


def _uncertainty(task: SuiteTaskFacts, *, exact: bool) -> float:
    """The factor between the longest time of a task and the expected one."""
    low, high = _item_range(task)
    factor = math.sqrt(high / low)
    if task.prompt_tokens is None:
        factor *= _EXAMPLE_UNCERTAINTY
    elif not exact:
        factor *= _ROWS_UNCERTAINTY
    factor *= _REQUESTS_UNCERTAINTY if task.requests is None else 1.0
    return factor * (_ANSWER_UNCERTAINTY if task.max_new_tokens or not task.output_type else 1.0)


def _item_range(task: SuiteTaskFacts) -> tuple[float, float]:
    """The fewest and the most items of a task; equal if known."""
    if task.items is not None:
        return task.items, task.items
    if task.limit is not None:
        return task.limit * _MEMBERS[0], task.limit * _MEMBERS[1]
    return _ITEMS


def _assumption_notes(suite: SuiteFacts) -> tuple[str, ...]:
    """A note on tasks whose sizes are assumed."""
    assumed = [task for task in suite.tasks if task.prompt_tokens is None]
    if not assumed:
        return ()
    low, high = (sum(_item_range(task)[end] for task in assumed) for end in (0, 1))
    items = f"{low:,.0f} to {high:,.0f} items" if low < high else f"{low:,.0f} items"
    return (
        f"The data of {', '.join(task.name for task in assumed)} are not on this machine: the time "
        f"of the suite assumes {items} of about {_EXAMPLE_TOKENS:.0f} tokens there, and as much "
        "for each solved example.",
    )
