"""Optional packages: which ones are needed, and the command that installs them."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweeper.errors import NotInstalled, Problem

DISTRIBUTION = "finetune-sweeper"
"""The name of sweeper for pip. The package ``sweeper`` on PyPI is another program."""

_CHECKOUT = Path(__file__).resolve().parents[1]
TRAINING = ("torch", "transformers", "peft", "accelerate", "safetensors")
REPORTS = ("numpy", "scipy", "optuna", "altair", "vl_convert")
RUNS = (*REPORTS, "sklearn", "threadpoolctl", *TRAINING)
"""Modules that every training (``TRAINING``), report (``REPORTS``) or whole run (``RUNS``) needs.

Modules that only some runs need are left out: bitsandbytes, pyarrow, and metrics of answers.
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
    """One problem that names all missing modules; empty if none is missing. Imports nothing.

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
        NotInstalled: An import failed, unless it is of a module of sweeper.
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


@dataclass(frozen=True)
class MachineCheck:
    """The result of one check of ``sweeper doctor``.

    ``off`` means that the user switched the part off. Nothing can be trained unless all ``needed``
    parts work.
    """

    name: str
    state: Literal["works", "does not work", "not installed", "off"]
    detail: str = ""
    fix: str = ""
    needed: bool = False


def _problem(what: str, modules: list[str], fix: str, where: str = "") -> Problem:
    verb = "is" if len(modules) == 1 else "are"
    names = ", ".join(modules)
    return Problem(f"{what} needs {names}, which {verb} not installed", fix=fix, where=where)
