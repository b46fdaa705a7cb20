"""Strategies are found by folder, and through entry points of other packages."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import sweeper.strategies
from sweeper import packages
from sweeper.errors import UsageError
from sweeper.strategies.full import Full
from sweeper.strategies.strategy import strategies, strategy


def test_a_strategy_is_looked_up_without_importing_the_others(monkeypatch):
    imported = []
    real = packages.importlib.import_module
    monkeypatch.setattr(
        packages.importlib, "import_module", lambda name: imported.append(name) or real(name)
    )
    assert isinstance(strategy("full"), Full)
    assert imported == ["sweeper.strategies.full"]


def test_an_unknown_strategy_names_the_nearest():
    with pytest.raises(UsageError, check=lambda error: error.code == "unknown-plugin"):
        strategy("lroa")


def test_a_module_that_is_no_strategy_is_not_one():
    assert Path(sweeper.strategies.__file__).with_name("targets.py").is_file()
    with pytest.raises(UsageError, check=lambda error: error.code == "unknown-plugin"):
        strategy("targets")


class Other(Full):
    """A strategy of another package."""

    name = "other"


@pytest.fixture
def entry(monkeypatch):
    def add(value: str) -> None:
        point = EntryPoint("other", value, "sweeper.strategies")

        def points(group: str) -> list[EntryPoint]:
            return [point] if group == point.group else []

        monkeypatch.setattr(packages, "entries", points)
        monkeypatch.setattr(EntryPoint, "load", lambda self: Other if "Other" in value else object)

    return add


def test_another_package_can_add_one(entry):
    entry("package.module:Other")
    assert isinstance(strategy("other"), Other)
    assert isinstance(strategies()["other"], Other)


def test_an_entry_point_that_is_no_strategy_is_refused_by_name(entry):
    entry("package.module:Thing")
    with pytest.raises(UsageError, match="'other'"):
        strategy("other")
