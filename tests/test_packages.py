"""A missing import is an error with its remedy; a mistake of our own is not."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import sweeper.tasks
from sweeper import packages
from sweeper.errors import NotInstalled
from sweeper.packages import find_all
from sweeper.tasks.classification import Classification
from sweeper.tasks.task import ENTRY_POINTS, Task, task

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", text)[0].lower().replace("_", "-") for text in requirements}


def test_a_missing_import_names_the_package_and_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(NotInstalled) as caught,
        packages.needed_for("Parquet", "pip install pyarrow", "rows.parquet"),
    ):
        import pyarrow.parquet  # noqa: F401
    said = "rows.parquet: Parquet needs pyarrow, which is not installed\n  pip install pyarrow"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "error",
    [
        ImportError("libcuda.so is missing", name="torch._C"),
        ModuleNotFoundError("libcuda.so is missing"),  # without a name, as transformers raises it
    ],
)
def test_a_broken_package_is_named_with_its_reason(error):
    with (
        pytest.raises(NotInstalled, match=r"libcuda\.so"),
        packages.needed_for("A sweep", packages.install_command("train")),
    ):
        raise error


def test_a_checkout_is_installed_from_its_folder_and_a_wheel_by_its_name(monkeypatch, tmp_path):
    checkout = Path(packages.__file__).parents[1]
    assert packages.install_command("train", "ray") == f"pip install -e '{checkout}[train,ray]'"
    monkeypatch.setattr(packages, "_CHECKOUT", tmp_path)  # of a wheel
    assert packages.install_command("train") == "pip install 'finetune-sweeper[train]'"


def test_an_import_of_our_own_that_fails_stays_a_bug():
    with pytest.raises(ModuleNotFoundError), packages.needed_for("A sweep", "pip install it"):
        import sweeper.no_such_module  # noqa: F401
    with pytest.raises(ImportError), packages.needed_for("A sweep", "pip install it"):
        from sweeper.units import no_such_name  # noqa: F401


def test_every_module_that_is_asked_for_belongs_to_the_extra_that_is_named():
    owners = packages_distributions()
    extra = names(PROJECT["optional-dependencies"]["train"])
    for module in packages.RUNS:
        assert {name.lower().replace("_", "-") for name in owners[module]} & extra, module
    assert PROJECT["name"] == packages.DISTRIBUTION
    assert not extra & names(PROJECT["dependencies"])


def test_tasks_are_found_by_folder():
    assert task("classification") is Classification
    found = find_all(sweeper.tasks, Task, ENTRY_POINTS)
    assert {"classification", "instruction"} <= found.keys()
    assert all(issubclass(kind, Task) and kind.name == name for name, kind in found.items())
