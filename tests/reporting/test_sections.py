"""Sections are found by their form, and know nothing of each other."""

import ast
import inspect
import typing
from pathlib import Path
from types import SimpleNamespace

import pytest

import sweeper
from sweeper.features import parts
from sweeper.features.parts import Heading
from sweeper.reporting.compose import in_order, sections

PACKAGE = Path(sweeper.__file__).parent
FOLDER = PACKAGE / "reporting" / "sections"
FUNCTIONS = (
    parts.COMPUTE, parts.FINDING, parts.BLOCKS, parts.BECAUSE, parts.CONFIDENCE, parts.CARD,
    parts.LIMITS, parts.ADVISE,
)  # fmt: skip
# Commands and steps of parts that are to be features.
OF_FEATURES = {
    "features/suite/commands.py",
    "steps/run.py",
}


def test_two_sections_in_one_place_or_with_one_id_are_an_error():
    def section(place, name):
        return SimpleNamespace(__name__=name, HEADING=Heading(place, name, "A"))

    assert [one.__name__ for one in in_order([section(8, "b"), section(7, "a")])] == ["a", "b"]
    for other in (section(7, "b"), section(8, "a")):
        with pytest.raises(ValueError, match="have the same order or id in the report"):
            in_order([section(7, "a"), other])


@pytest.mark.parametrize("module", sections(), ids=lambda module: module.HEADING.id)
def test_every_section_has_the_same_form(module):
    arguments = {
        "compute": ["run", "findings"],
        "blocks": ["figures", "report"],
        "finding": ["figures", "report"],
    }
    defined = [hook.name for hook in FUNCTIONS if hook.defined_in(module)]
    assert ("compute" in defined) == (parts.FIGURES.defined_in(module) is not None)
    assert set(defined) & {"blocks", "finding", "advise"}
    for name in defined:
        found = list(inspect.signature(getattr(module, name)).parameters)
        assert found == arguments.get(name, ["figures", "findings"]), name
    if "compute" in defined:
        kinds = typing.get_type_hints(module.compute)["return"]
        assert module.Figures in (kinds, *typing.get_args(kinds))


def imported(file):
    """Modules of sections that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            inside = node.module.partition("sweeper.reporting.sections")[2]
            if node.module == "sweeper.reporting.sections":
                yield from (alias.name for alias in node.names)
            elif inside:
                yield inside.removeprefix(".")


def test_sections_are_imported_by_nothing():
    files = {str(file.relative_to(PACKAGE)): file for file in PACKAGE.rglob("*.py")}
    found = {name: list(imported(file)) for name, file in files.items() if name not in OF_FEATURES}
    inside = {name for name, modules in found.items() if modules}
    assert all(name.startswith("reporting/sections/") for name in inside)
    assert all(module.startswith("_") for modules in found.values() for module in modules)
