"""Each error has a code that does not depend on its words."""

import re
from collections.abc import Iterator

from sweeper.errors import Problem, RunError, SweeperError, UsageError


def kinds(kind: type[SweeperError]) -> Iterator[type[SweeperError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from kinds(below)


def test_each_class_states_a_code_of_its_own() -> None:
    core = [kind for kind in kinds(SweeperError) if kind.__module__ == "sweeper.errors"]
    codes = [vars(kind)["code"] for kind in core]
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert len(codes) == len(set(codes)) >= 15


def test_the_code_is_that_of_the_case_else_that_of_the_class() -> None:
    assert RunError("x").code == RunError.code != UsageError.code
    assert RunError("x", code="run-locked").code == "run-locked"
    assert RunError([Problem("x"), Problem("y", code="case")]).code == "case"
