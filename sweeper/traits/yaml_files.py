"""Where strategies are declared: YAML files of the project and of installed packages.

Packages are found, not imported: reading a strategy's YAML must not run its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sweeper import plugins, resources
from sweeper.errors import Problem
from sweeper.yamlfile import Document, read

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

#: Entry points that name a strategy's class; its YAML lies beside the class's module.
STRATEGIES = "sweeper.strategies"
#: Entry points that name a package whose folder is laid out like ``search_spaces``.
SEARCH_SPACES = "sweeper.search_spaces"


class StrategyFiles(NamedTuple):
    """The file of every strategy by name, and classes that lack theirs."""

    paths: Mapping[str, Path]
    problems: tuple[Problem, ...] = ()


def known_strategies() -> tuple[str, ...]:
    """Names of all strategies, those of installed packages included."""
    return tuple(sorted(strategy_files().paths))


@lru_cache(maxsize=1)
def strategy_files() -> StrategyFiles:
    """Every strategy's file: beside classes, then the project's, then those of packages' folders.

    Where several are of one name, the last one counts.
    """
    entries = plugins.entries(STRATEGIES)
    beside_class = {entry.name: _beside(entry) for entry in entries}
    paths = {name: path for name, path in beside_class.items() if path is not None}
    for folder in (resources.search_spaces(), *installed_folders()):
        paths |= {path.stem: path for path in sorted(folder.glob("strategies/*.yaml"))}
    problems = []
    for entry in entries:
        if entry.name not in paths:
            name = f"{entry.name}.yaml"
            what = f"the strategy {entry.name!r} has no {name}"
            why = "The planner reads a strategy's parameters and costs from it."
            fix = f"Put {name} next to the module {entry.module}, as package data."
            problems.append(Problem(what, why, fix, f"entry point {entry.value}"))
    return StrategyFiles(paths, tuple(problems))


@lru_cache(maxsize=128)
def document(path: Path) -> Document:
    """The file of an installed strategy, read once in a process.

    Raises:
        UsageError: It cannot be read, or it is not YAML.
    """
    return read(path)


@lru_cache(maxsize=1)
def installed_folders() -> tuple[Path, ...]:
    """Folders of installed packages with rules or further strategy files."""
    folders: list[Path] = []
    for entry in plugins.entries(SEARCH_SPACES):
        folders += _folders_of(entry.module)
    return tuple(folders)


def _beside(entry: EntryPoint) -> Path | None:
    """``<name>.yaml`` in the folder of the entry point's module."""
    package, _, _ = entry.module.rpartition(".")
    folders = _folders_of(package)
    if not package:
        spec = find_spec(entry.module)
        folders = [Path(spec.origin).parent] if spec and spec.origin else []
    candidates = [folder / f"{entry.name}.yaml" for folder in folders]
    return next((path for path in candidates if path.is_file()), None)


def _folders_of(package: str) -> list[Path]:
    """Folders of a package; its top level alone is looked up, which imports nothing."""
    top, _, rest = package.partition(".")
    spec = find_spec(top) if top else None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return [Path(root, *rest.split(".")) if rest else Path(root) for root in places]
