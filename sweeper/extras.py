"""Optional packages: which ones a use needs, and the command that installs them."""

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
"""The name for pip. The package ``sweeper`` on PyPI is another program."""

_CHECKOUT = Path(__file__).resolve().parents[1]
TRAINING = ("torch", "transformers", "peft", "accelerate", "safetensors")
REPORTS = ("numpy", "scipy", "optuna", "altair", "vl_convert")
RUNS = (*REPORTS, "sklearn", "threadpoolctl", *TRAINING)
"""Modules of the extra ``train`` that every use of that kind imports.

What only some runs import is left out: bitsandbytes, pyarrow, and the metrics of written text.
"""


def install_command(*extras: str) -> str:
    """The command that adds extras to the sweeper that is installed.

    A checkout is named by its folder. For an installed wheel, pip needs no index to find the
    package: it keeps what is installed, and adds what is missing.
    """
    if (_CHECKOUT / "pyproject.toml").is_file():
        return f"pip install -e '{_CHECKOUT}[{','.join(extras)}]'"
    return f"pip install '{DISTRIBUTION}[{','.join(extras)}]'"


def require(what: str, modules: Iterable[str], fix: str = "") -> None:
    """Check that modules are installed, without loading any.

    Raises:
        NotInstalled: Some are missing; all of them are named.
    """
    if problems := missing(what, modules, fix):
        raise NotInstalled(problems)


def missing(what: str, modules: Iterable[str], fix: str = "") -> tuple[Problem, ...]:
    """One problem that names all modules that are not installed, or none. Loads nothing.

    Args:
        what: What needs them, to begin a sentence with.
        modules: Names of top-level modules.
        fix: The command that installs them. By default that of the extra ``train``.
    """
    names = [name for name in modules if not is_installed(name)]
    return (_problem(what, names, fix or install_command("train")),) if names else ()


def is_installed(module: str) -> bool:
    """Whether a top-level module can be found; it is not loaded."""
    if module in sys.modules:  # perhaps without a spec; None if it is blocked
        return sys.modules[module] is not None
    return importlib.util.find_spec(module) is not None


@contextlib.contextmanager
def needed_for(what: str, fix: str, where: str = "") -> Iterator[None]:
    """Import optional modules inside; a missing or broken one is an error with its remedy.

    Args:
        what: What needs them, to begin a sentence with.
        fix: The command that installs them.
        where: A flag, file or path. May be empty.

    Raises:
        NotInstalled: An import failed, other than that of a module of sweeper itself.
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
    """One thing that ``sweeper doctor`` tried.

    ``off`` is the user's own choice and nothing to mend. Without what is ``needed`` nothing can
    be trained.
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
