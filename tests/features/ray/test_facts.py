"""The check of Ray that ``sweeper doctor`` shows."""

from __future__ import annotations

import sys

import pytest

from sweeper.extras import install_command
from sweeper.features.ray.facts import doctor


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    (check,) = doctor()
    assert check.state == "not installed"
    assert install_command("ray") in check.fix
