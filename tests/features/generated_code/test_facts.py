"""What is checked and said before programs are run."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenes import make_scene

from sweeper.features.generated_code.facts import doctor, warnings
from sweeper.spec import FeatureOptions


def test_tests_of_rows_that_are_not_run_are_named() -> None:
    spec, facts = make_scene("code", data={"columns": {"tests": "test_list"}})
    (told,) = warnings(spec, facts)
    assert "`test_list`" in told
    allowed = FeatureOptions.model_validate({"generated_code": {"allow": True}})
    assert list(warnings(spec.model_copy(update={"features": allowed}), facts)) == []
    other, facts = make_scene("instruction", data={"columns": {"tests": "test_list"}})
    assert list(warnings(other, facts)) == []


def test_the_sandbox_is_tried_and_what_it_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (works,) = doctor()
    assert works.state == "works"
    monkeypatch.setenv("PATH", str(tmp_path))
    (missing,) = doctor()
    assert (missing.state, missing.needed) == ("not installed", False)
    assert "apt install bubblewrap" in missing.fix
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho no namespaces >&2; exit 1\n")
    broken.chmod(0o755)
    (check,) = doctor()
    assert (check.state, check.detail) == ("does not work", "no namespaces")
