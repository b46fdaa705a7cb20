"""Finds the parts that are one file each: strategies and tasks, ours and other packages'."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from sweeper.errors import UsageError, near_match

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Part = TypeVar("Part")


def entries(group: str) -> list[EntryPoint]:
    """The entry points of a group, by name."""
    installed = _installed()
    return sorted(installed.select(group=group), key=lambda entry: entry.name) if installed else []


@lru_cache(maxsize=1)
def _installed() -> Any:
    """All entry points, or None if no installed package has parts for sweeper.

    They are searched once. ``importlib.metadata`` takes 15 ms, and most machines have no such part.
    """
    if not any(_may_have_parts(folder) for folder in sys.path):
        return None
    from importlib.metadata import entry_points

    return entry_points()  # SelectableGroups before Python 3.12, EntryPoints since


def _may_have_parts(entry: str) -> bool:
    """Whether packages in a place of ``sys.path`` may register parts; those of an archive may."""
    folder = Path(entry)
    if not folder.is_dir():
        return folder.exists()
    files = folder.glob("*-info/entry_points.txt")
    return any(b"[sweeper." in file.read_bytes() for file in files)


def find(package: ModuleType, kind: type[Part], group: str, name: str) -> type[Part]:
    """The part with that name; only its own module is imported.

    Raises:
        UsageError: No such part, or another package's part is not what it should be.
    """
    if (part := find_all(package, kind, group, name).get(name)) is not None:
        return part
    parts = find_all(package, kind, group)
    raise UsageError(
        f"unknown {kind.__name__.lower()} {name!r}",
        fix=near_match(name, parts),
        code="unknown-plugin",
    )


def find_all(
    package: ModuleType, kind: type[Part], group: str, only: str = ""
) -> dict[str, type[Part]]:
    """Every part by name; imports all of them, or that of one name.

    A part of the package is the class in a module that bears the module's own name.

    Args:
        kind: The base class of these parts.
        group: The entry points group through which other packages add parts.

    Raises:
        UsageError: Another package's part is not what it should be.
    """
    parts: dict[str, type[Part]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if only in ("", info.name):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            for value in vars(module).values():
                if _is_part(value, kind) and vars(value).get("name") == info.name:
                    parts[info.name] = value
    for entry in entries(group):
        if only in ("", entry.name) and entry.name not in parts:
            if not _is_part(loaded := entry.load(), kind):
                raise UsageError(
                    f"the entry point {entry.name!r} of {group!r} is not a {kind.__name__}",
                    fix=f"Make {entry.value} a subclass of {kind.__module__}.{kind.__name__}.",
                )
            parts[entry.name] = loaded
    return parts


def _is_part(value: object, kind: type[Part]) -> TypeGuard[type[Part]]:
    return isinstance(value, type) and issubclass(value, kind)


def values_in(package: ModuleType) -> list[Any]:
    """Every value that a module of a package holds; imports all of them."""
    modules = (
        importlib.import_module(f"{package.__name__}.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
    )
    return [value for module in modules for value in vars(module).values()]


def named_classes(package: ModuleType, kind: type[Part]) -> set[type[Part]]:
    """Every subclass in the modules of a package that has a name."""
    return {
        value for value in values_in(package) if _is_part(value, kind) and hasattr(value, "name")
    }
