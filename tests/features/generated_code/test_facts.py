"""What is checked and said before programs are run."""

from __future__ import annotations

import sys

import pytest
from scenes import make_scene

from sweeper.errors import NotInstalled, RunError
from sweeper.features.generated_code import _sandbox, metric
from sweeper.features.generated_code.facts import doctor, warnings
from sweeper.packages import install_command
from sweeper.spec import FeatureOptions


def test_tests_of_rows_that_are_not_run_are_named() -> None:
    spec, facts = make_scene("code", data={"columns": {"tests": "test_list"}})
    (told,) = warnings(spec, facts)
    assert "`test_list`" in told
    allowed = FeatureOptions.model_validate({"generated_code": {"allow": True}})
    assert list(warnings(spec.model_copy(update={"features": allowed}), facts)) == []
    other, facts = make_scene("instruction", data={"columns": {"tests": "test_list"}})
    assert list(warnings(other, facts)) == []


def test_the_sandbox_is_tried() -> None:
    (check,) = doctor()
    assert (check.state, check.needed) == ("works", False)


@pytest.mark.parametrize("module", metric.NEEDED)
def test_a_missing_package_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (check,) = doctor()
    assert (check.state, check.needed) == ("not installed", False)
    assert module in check.detail
    assert check.fix == install_command("code")
    with pytest.raises(NotInstalled):
        metric.run_program("", ())


def test_a_sandbox_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RunError("not run", why="no memory for code", fix="Leave it out.")

    monkeypatch.setattr(_sandbox, "_load", fail)
    (check,) = doctor()
    assert (check.state, check.detail) == ("does not work", "no memory for code")
