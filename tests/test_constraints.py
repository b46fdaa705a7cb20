"""constraints.txt holds one tested version of every direct dependency, within its range."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def direct(extra: str | None) -> Iterator[Requirement]:
    """The dependencies of an extra, those of the extras that it takes in included."""
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in map(Requirement, listed):
        if requirement.name == PROJECT["name"]:
            for taken_in in sorted(requirement.extras):
                yield from direct(taken_in)
        else:
            yield requirement


def installed_extras() -> list[str]:
    """The extras that ``make install`` installs."""
    (extras,) = re.findall(r"--editable '\.\[(.+)\]'", (ROOT / "Makefile").read_text())
    return extras.split(",")


def pinned() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


INSTALLED = [each for extra in (None, *installed_extras()) for each in direct(extra)]


@pytest.mark.parametrize("requirement", INSTALLED, ids=str)
def test_every_direct_dependency_has_a_version_within_its_range(requirement: Requirement) -> None:
    version = pinned()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version, prereleases=True)


def test_versions_are_those_that_every_machine_can_install() -> None:
    versions = pinned()
    assert len(versions) > len(INSTALLED)
    assert [name for name, version in versions.items() if version.local] == []


def test_liger_kernel_is_for_benchmarks_and_not_installed_by_make() -> None:
    benchmarks = {requirement.name for requirement in direct("bench")}
    assert {"liger-kernel", "trl", "gguf"} <= benchmarks
    assert "liger-kernel" not in {requirement.name for requirement in INSTALLED}
