"""Optional packages that sweeper uses, and plug-ins that packages bring."""

from __future__ import annotations

import contextlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

from sweeper.errors import NotInstalled, Problem, UsageError, near_match

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

DISTRIBUTION = "finetune-sweeper"
"""The name of sweeper for pip. The package ``sweeper`` on PyPI is another program."""

# The folder of the checkout, if sweeper is not an installed wheel.
_CHECKOUT = Path(__file__).resolve().parents[1]
TRAINING = ("torch", "transformers", "peft", "accelerate", "safetensors")
REPORTS = ("numpy", "scipy", "optuna", "altair", "vl_convert")
RUNS = (*REPORTS, "sklearn", "threadpoolctl", *TRAINING)
"""Modules that every training (``TRAINING``), report (``REPORTS``) or whole run (``RUNS``) needs.

Modules that only some runs need are left out: bitsandbytes, pyarrow, and those that score answers.
"""


def install_command(*extras: str) -> str:
    """The command that installs extras of this sweeper.

    A checkout is named by its folder. For an installed wheel, the command keeps the installed
    version and adds missing packages.
    """
    if (_CHECKOUT / "pyproject.toml").is_file():
        return f"pip install -e '{_CHECKOUT}[{','.join(extras)}]'"
    return f"pip install '{DISTRIBUTION}[{','.join(extras)}]'"


def require(what: str, modules: Iterable[str], fix: str = "") -> None:
    """Check that modules are installed, without importing them.

    Raises:
        NotInstalled: Modules are missing; the error names them.
    """
    if problems := missing(what, modules, fix):
        raise NotInstalled(problems)


def missing(what: str, modules: Iterable[str], fix: str = "") -> tuple[Problem, ...]:
    """A tuple with one problem that names all missing modules; empty if none is missing.

    Imports nothing.

    Args:
        what: What needs the modules, as the beginning of a sentence.
        modules: Names of top-level modules.
        fix: The command that installs them; if empty, that of the extra ``train``.
    """
    names = [name for name in modules if not is_installed(name)]
    return (_problem(what, names, fix or install_command("train")),) if names else ()


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found; it is not imported."""
    if module in sys.modules:  # a loaded module may have no spec; a blocked one is None
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


@contextlib.contextmanager
def needed_for(what: str, fix: str, where: str = "") -> Iterator[None]:
    """A context for imports of optional modules; a failed import raises an error with the remedy.

    Args:
        what: What needs the modules, as the beginning of a sentence.
        fix: The command that installs them.
        where: A flag, file or path. May be empty.

    Raises:
        NotInstalled: An import failed.
        ImportError: The import of one of sweeper's own modules failed.
    """
    try:
        yield
    except ImportError as error:
        module = (error.name or "").partition(".")[0]
        if module == "sweeper":
            raise
        if module and isinstance(error, ModuleNotFoundError):
            raise NotInstalled([_problem(what, [module], fix, where)]) from error
        raise NotInstalled(
            f"{what} needs a package that cannot be loaded",
            why=(str(error).strip() or "An import failed.").splitlines()[0],
            fix=fix,
            where=where,
        ) from error


def _problem(what: str, modules: list[str], fix: str, where: str = "") -> Problem:
    verb = "is" if len(modules) == 1 else "are"
    names = ", ".join(modules)
    return Problem(f"{what} needs {names}, which {verb} not installed", fix=fix, where=where)


Plugin = TypeVar("Plugin")


def entries(group: str) -> list[EntryPoint]:
    """The entry points of a group, sorted by name."""
    points = _entry_points()
    return sorted(points.select(group=group), key=lambda entry: entry.name) if points else []


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
    """Whether packages in an entry of ``sys.path`` may have plug-ins; True for a zip archive."""
    folder = Path(entry)
    if not folder.is_dir():
        return folder.exists()
    files = folder.glob("*-info/entry_points.txt")
    return any(b"[sweeper." in file.read_bytes() for file in files)


def find(package: ModuleType, kind: type[Plugin], group: str, name: str) -> type[Plugin]:
    """The class of the plug-in with this name; only its module is imported.

    Args:
        package, kind, group: As in ``find_all``.

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

    A plug-in is the class in a module of ``package`` whose ``name`` is the module's name, or an
    entry point.

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
    """All subclasses of ``kind`` with a ``name`` in the modules of a package."""
    return {
        value
        for value in values_in(package)
        if _is_subclass(value, kind) and hasattr(value, "name")
    }
