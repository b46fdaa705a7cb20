"""Whether Ray is installed, for ``sweeper doctor``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib import metadata

from sweeper.features.parts import MachineCheck
from sweeper.packages import install_command


def doctor() -> Iterator[MachineCheck]:
    """Whether the package can be loaded."""
    fix = f"{install_command('ray')}, for --executor ray."
    try:
        importlib.import_module("ray")
    except ModuleNotFoundError:
        yield MachineCheck("Ray", "not installed", fix=fix)
    except (ImportError, OSError) as error:
        yield MachineCheck("Ray", "does not work", str(error).splitlines()[0], fix)
    else:
        yield MachineCheck("Ray", "works", f"ray {metadata.version('ray')}")
