"""Whether generated programs can be run: a check, a warning and the line of ``sweeper doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sweeper.errors import Problem
from sweeper.facts.record import Facts
from sweeper.features.generated_code.metric import NEEDED
from sweeper.features.generated_code.options import Options
from sweeper.features.parts import MachineCheck
from sweeper.metrics.programs import refusal
from sweeper.packages import is_installed
from sweeper.spec import Spec


def check(spec: Spec, for_run: bool) -> Iterator[Problem]:
    """The reason why this machine cannot isolate programs, if a run executes them."""
    if not (spec.features.of(Options).allow and for_run):
        return
    if (problem := refusal()) is not None:
        where = spec.places.where(("features", "generated_code", "allow"))
        yield replace(problem, where=where)


def warnings(spec: Spec, facts: Facts) -> Iterator[str]:
    """A hint that answers could be tested, if the user has not allowed it."""
    column = facts.data.columns.get("tests")
    if spec.task == "code" and column is not None and not spec.features.of(Options).allow:
        yield (
            f"the rows have tests (`{column}`), which are not run: give --run-generated-code to "
            "measure pass@1, too"
        )


def doctor() -> Iterator[MachineCheck]:
    """Whether code that a model wrote can be run against tests."""
    name, problem = "generated code", refusal()
    if problem is None:
        yield MachineCheck(name, "works", "in WebAssembly, with --run-generated-code")
    elif all(map(is_installed, NEEDED)):
        yield MachineCheck(name, "does not work", problem.why, problem.fix)
    else:
        yield MachineCheck(name, "not installed", problem.what, problem.fix)
