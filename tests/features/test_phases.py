"""Phases of features that fail cost their own figures, and the run ends well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from curve_backend import make_plan, make_spec

from sweeper.errors import UsageError
from sweeper.execution.coordinator import RunOutcome, run_sweep
from sweeper.features import parts
from sweeper.runfolder import RunFolder
from sweeper.steps import sweep as run_steps

pytestmark = pytest.mark.usefixtures("workers_find_the_backend")


def broken(*_: Any, **__: Any) -> None:
    raise KeyError("a bug")


def given(monkeypatch: pytest.MonkeyPatch, name: str, hook: Any) -> None:
    """One feature that defines this hook, and no other one."""
    monkeypatch.setattr(
        parts.Hook, "all", lambda self: iter([("mine", hook)] if self.name == name else [])
    )


def test_a_phase_that_fails_is_a_warning_and_the_run_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, "after_test", broken)
    run = RunFolder(tmp_path / "run")
    outcome = run_sweep(run, make_spec(2, 1), make_plan(2), backend="curve_backend:make")
    assert outcome.kind == "complete"
    assert "mine" in outcome.status.message
    assert "KeyError" in outcome.status.message


def test_the_end_of_a_run_goes_on_after_a_bug_and_ends_with_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, told = RunFolder(tmp_path), []
    outcome = RunOutcome("complete", status=None)  # type: ignore[arg-type]
    given(monkeypatch, "finish", broken)
    after = run_steps._run_finish_hooks(
        run, make_plan(), make_spec(), outcome, lambda event, _status: told.append(event)
    )
    assert after is outcome
    assert [event.kind for event in told] == ["warning"]

    def refused(*_: Any) -> None:
        raise UsageError("cannot be used")

    given(monkeypatch, "finish", refused)
    with pytest.raises(UsageError):
        run_steps._run_finish_hooks(run, make_plan(), make_spec(), outcome, lambda *_: None)


def test_an_option_of_the_identity_changes_it_and_its_default_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sweeper.planning.identity import _feature_options

    assert _feature_options(make_spec()) == []
    asked = make_spec(features={"warm_start": {"enabled": True}})
    assert _feature_options(asked) == []
    path = ("features", "warm_start", "enabled")
    monkeypatch.setattr(parts, "flags", lambda: {path: parts.Flag("--x", identity=True)})
    assert _feature_options(asked) == [["warm_start", "enabled", True]]
    assert _feature_options(make_spec()) == []
