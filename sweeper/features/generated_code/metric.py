"""The metric of generated programs: whether they pass their tests."""

from __future__ import annotations

from collections.abc import Sequence

from sweeper.features.generated_code.options import Options
from sweeper.packages import install_command, require
from sweeper.spec import Spec

NEEDED = ("wasmtime", "componentize_py")
"""The modules of the extra ``code``."""


def samples(spec: Spec) -> int:
    """Number of answers to each item that are run as programs; 0 if the user has not allowed it."""
    options = spec.features.of(Options)
    return options.samples if options.allow else 0


def run_program(program: str, tests: Sequence[str]) -> bool:
    """Run a program that the user has allowed, and return whether it passes its tests.

    Raises:
        NotInstalled: The sandbox is not installed; nothing was run.
        RunError: This machine cannot isolate a program; nothing was run.
    """
    require("Running generated code", NEEDED, install_command("code"))
    from sweeper.features.generated_code import _sandbox  # plans do not need it

    return _sandbox.failure(program, tests) is None
