"""Limits the time of patterns in a task file's filters, metrics and templates.

A regular expression with a repeat inside a repeat may try as many ways to match as a text has
divisions.
"""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from sweeper.errors import SpecError, UsageError

MOST_SECONDS = 60
"""Of processor time, for one filter over all items or one item's metrics: lm-eval's own filters
take 0.1 s for 1,000 outputs (measured)."""

MOST_LOADING_SECONDS = 600
"""To load a task, its data included."""

_MOST_CHARACTERS = 300  # of patterns in a message


class _TooLong(BaseException):
    """Not an ``Exception``: task files and lm-eval catch those."""


@contextmanager
def bounded(what: str, why: str, where: str, most_seconds: float | None = None) -> Iterator[None]:
    """End a block of the main thread that takes too much processor time.

    ``re`` looks for signals while it matches. This one is counted in processor time, so that a
    busy machine ends nothing, and is not the one that timeouts of lm-eval's tasks use.

    Args:
        what: The subject of the message.
        why: Its reason.
        where: The task file.
        most_seconds: ``MOST_SECONDS`` if None.

    Raises:
        UsageError: It took longer.
    """

    def stop(*_: object) -> NoReturn:
        raise _TooLong

    most = most_seconds or MOST_SECONDS
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, most, most)
    try:
        yield
    except _TooLong as error:
        raise UsageError(
            f"{what} took longer than {most:g} s",
            why=why,
            fix="Rewrite a pattern that has a repeat inside a repeat, such as (a+)+.",
            where=where,
        ) from error
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def bound_patterns(name: str, task: Any, where: str) -> None:
    """Compile the patterns of a task's filters and metrics, and bound each use of them.

    Args:
        task: lm-eval's task object; changed in place.
        where: Its file.

    Raises:
        SpecError: One is no pattern, or a filter's options do not fit.
    """
    for ensemble in task._filters:
        what = f"the filter {ensemble.name!r} of {name}"
        options = [make.keywords for make in ensemble.filters]
        try:
            for make in ensemble.filters:
                make()
            patterns = [p for one in options for p in _compiled(one)]
        except (re.error, RecursionError, OverflowError, TypeError, ValueError) as error:
            raise SpecError(f"{what} is not valid", why=str(error), where=where) from error
        ensemble.apply = _bounded(ensemble.apply, what, patterns, where)
    what = f"the metrics of {name}"
    try:
        patterns = [p for one in task.config.metric_list or () for p in _compiled(one)]
    except (re.error, RecursionError, OverflowError, TypeError) as error:
        raise SpecError(f"{what} are not valid", why=str(error), where=where) from error
    task.process_results = _bounded(task.process_results, what, patterns, where)


def _compiled(options: dict[str, Any]) -> list[str]:
    """The patterns among the options of a filter or metric, as their file has them."""
    stated = [options.get("regex_pattern"), *(options.get("regexes_to_ignore") or ())]
    return [re.compile(pattern).pattern for pattern in stated if pattern is not None]


def _bounded(
    function: Callable[..., Any], what: str, patterns: list[str], where: str
) -> Callable[..., Any]:
    listed = ", ".join(map(repr, patterns))[:_MOST_CHARACTERS]
    why = f"Its patterns are {listed}." if patterns else "It has no pattern of its own."

    @functools.wraps(function)
    def within_time(*values: Any, **named: Any) -> Any:
        with bounded(what, why, where):
            return function(*values, **named)

    return within_time
