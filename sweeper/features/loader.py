"""Finds the installed features, and imports a part of one when the core asks for it.

A feature is a folder here, or a package of another distribution, named by an entry point of the
group ``sweeper.features``. Its parts are files with the names in ``PARTS``, and the ``FOLDERS``.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from sweeper.errors import UsageError, near_match
from sweeper.packages import entries

GROUP = "sweeper.features"
PARTS = frozenset({
    "commands", "comparison", "constraint", "corrections", "cost", "facts", "listener", "metric",
    "options", "phase", "plan_output", "pool", "remedies", "rows", "section", "starts", "trial",
})  # fmt: skip
"""Names of modules that are parts; ``sweeper.features.parts`` has the hooks of each."""
FOLDERS = frozenset({"rules", "parameters"})
"""Names of folders of YAML files that are parts: rules of the planner, and parameters of every
strategy whose gradients pass through the base model."""


class Feature(NamedTuple):
    """An installed feature.

    Args:
        name: The feature's key in ``sweep.yaml`` and in artifacts.
        package: Importable name of its package.
        folder: Folder of its files.
        parts: Names of its parts.
        after: Features whose parts run before its own, if they are installed.
    """

    name: str
    package: str
    folder: Path
    parts: frozenset[str]
    after: tuple[str, ...] = ()

    def load(self, part: str) -> ModuleType:
        """The module of one of its parts."""
        return importlib.import_module(f"{self.package}.{part}")


@cache
def installed() -> tuple[Feature, ...]:
    """All features, each after those that it names in ``AFTER``, otherwise sorted by name.

    Raises:
        UsageError: A feature is not a package or has a file that is not a part, or each of some
            features names another in ``AFTER``.
    """
    here = Path(__file__).parent
    folders = {
        path.name: (f"{__package__}.{path.name}", path)
        for path in here.iterdir()
        if (path / "__init__.py").is_file()
    }
    for entry in entries(GROUP):
        spec = importlib.util.find_spec(entry.value)
        if spec is None or not spec.submodule_search_locations:
            why = f"The entry point {entry.name!r} of {GROUP!r} names {entry.value!r}."
            raise UsageError(f"feature {entry.name!r} is not a package", why, "Name a package.")
        folders.setdefault(entry.name, (entry.value, Path(spec.submodule_search_locations[0])))
    features = {
        name: Feature(name, package, folder, _parts(folder), _declared_after(package))
        for name, (package, folder) in folders.items()
    }
    return tuple(_in_order(features))


def features_with(part: str) -> list[Feature]:
    """The features that have a part, in the order of ``installed``."""
    return [feature for feature in installed() if part in feature.parts]


def yaml_folders(part: str) -> list[Path]:
    """The folder ``part``, one of ``FOLDERS``, of each feature that has it."""
    return [feature.folder / part for feature in features_with(part)]


def find(name: str, part: str) -> Feature:
    """The feature ``name``, which must have this part.

    Raises:
        UsageError: It is not installed or lacks the part.
    """
    features = {feature.name: feature for feature in features_with(part)}
    if name not in features:
        raise UsageError(
            f"there is no feature {name!r} with a {part}",
            f"Installed: {', '.join(features) or 'none'}.",
            near_match(name, features),
        )
    return features[name]


def _parts(folder: Path) -> frozenset[str]:
    """The parts in a folder.

    Raises:
        UsageError: A file is neither a part nor a helper.
    """
    parts: set[str] = set()
    for path in folder.iterdir():
        name = path.stem if path.suffix == ".py" else path.name
        if name.startswith(("_", ".")):
            continue
        if name not in (PARTS if path.suffix == ".py" else FOLDERS):
            raise UsageError(
                "this is not a part of a feature",
                "A part has a fixed name; names of helper files begin with '_'.",
                near_match(name, PARTS | FOLDERS),
                str(path),
            )
        parts.add(name)
    return frozenset(parts)


def _declared_after(package: str) -> tuple[str, ...]:
    return tuple(getattr(importlib.import_module(package), "AFTER", ()))


def _in_order(features: dict[str, Feature]) -> Iterable[Feature]:
    """The features by name, each after those in its ``after``."""
    waiting = dict(sorted(features.items()))
    while waiting:
        ready = [
            name for name, feature in waiting.items() if not set(feature.after) & waiting.keys()
        ]
        if not ready:
            names = ", ".join(waiting)
            what = f"the AFTER of these features form a cycle: {names}"
            raise UsageError(what, fix="Change one of them.")
        yield waiting.pop(ready[0])
