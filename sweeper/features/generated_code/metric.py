"""Programs as a metric: whether they pass their tests."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.errors import Problem
from sweeper.features.generated_code.options import Options
from sweeper.spec import Spec


def samples(spec: Spec) -> int:
    """Answers to each item whose programs are run; 0 where the user has not allowed that."""
    options = spec.features.of(Options)
    return options.samples if options.allow else 0


def run_program(program: str, tests: Sequence[str]) -> bool:
    """Run a program against its tests. The user has allowed that.

    Raises:
        RunError: This machine cannot isolate a program; nothing was run.
    """
    from sweeper.features.generated_code import _code_execution

    return _code_execution.run_program(program, tests, permitted=True).passed


def refusal() -> Problem | None:
    """Why this machine cannot isolate a program, and what to install; None if it can."""
    from sweeper.features.generated_code import _code_execution  # plans do without

    return _code_execution.can_isolate()
