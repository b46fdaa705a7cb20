"""Finds plug-ins, such as strategies and tasks, in modules of a package and in entry points."""

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

Plugin = TypeVar("Plugin")


def entries(group: str) -> list[EntryPoint]:
    """The entry points of a group, sorted by name."""
    installed = _entry_points()
    return sorted(installed.select(group=group), key=lambda entry: entry.name) if installed else []


@lru_cache(maxsize=1)
def _entry_points() -> Any:
    """All entry points, or None if no installed package has plug-ins for sweeper.

    Importing ``importlib.metadata`` takes 15 ms, and most machines have no plug-in.
    """
    if not any(_may_have_plugins(folder) for folder in sys.path):
        return None
    from importlib.metadata import entry_points

    return entry_points()  # SelectableGroups before Python 3.12, EntryPoints since


def _may_have_plugins(entry: str) -> bool:
    """Whether packages in an entry of ``sys.path`` may have plug-ins; True for an archive."""
    folder = Path(entry)
    if not folder.is_dir():
        return folder.exists()
    files = folder.glob("*-info/entry_points.txt")
    return any(b"[sweeper." in file.read_bytes() for file in files)


def find(package: ModuleType, kind: type[Plugin], group: str, name: str) -> type[Plugin]:
    """The class of the plug-in with this name; only its module is imported.

    Raises:
        UsageError: There is no such plug-in, or an entry point is not a ``kind``.
    """
    if (plugin := find_all(package, kind, group, name).get(name)) is not None:
        return plugin
    plugins = find_all(package, kind, group)
    raise UsageError(
        f"unknown {kind.__name__.lower()} {name!r}",
        fix=near_match(name, plugins),
        code="unknown-plugin",
    )


def find_all(
    package: ModuleType, kind: type[Plugin], group: str, only: str = ""
) -> dict[str, type[Plugin]]:
    """Plug-ins by name: all, or the one named ``only``. Only their modules are imported.

    A plug-in is the class in a module of ``package`` whose ``name`` is the module's name.

    Args:
        kind: The base class of the plug-ins.
        group: The entry point group of other packages' plug-ins.

    Raises:
        UsageError: An entry point is not a ``kind``.
    """
    plugins: dict[str, type[Plugin]] = {}
    for info in pkgutil.iter_modules(package.__path__):
        if only in ("", info.name):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            for value in vars(module).values():
                if _is_subclass(value, kind) and vars(value).get("name") == info.name:
                    plugins[info.name] = value
    for entry in entries(group):
        if only in ("", entry.name) and entry.name not in plugins:
            if not _is_subclass(loaded := entry.load(), kind):
                raise UsageError(
                    f"the entry point {entry.name!r} of {group!r} is not a {kind.__name__}",
                    fix=f"Make {entry.value} a subclass of {kind.__module__}.{kind.__name__}.",
                )
            plugins[entry.name] = loaded
    return plugins


def _is_subclass(value: object, kind: type[Plugin]) -> TypeGuard[type[Plugin]]:
    return isinstance(value, type) and issubclass(value, kind)


def values_in(package: ModuleType) -> list[Any]:
    """All values in the modules of a package, which are imported."""
    modules = (
        importlib.import_module(f"{package.__name__}.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
    )
    return [value for module in modules for value in vars(module).values()]


def named_classes(package: ModuleType, kind: type[Plugin]) -> set[type[Plugin]]:
    """All subclasses with a ``name`` in the modules of a package."""
    return {
        value
        for value in values_in(package)
        if _is_subclass(value, kind) and hasattr(value, "name")
    }
